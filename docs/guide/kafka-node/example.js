// Records one call and one that failed. Run it: LLMTRAIL_KAFKA=127.0.0.1:9092 node example.js

import { Trail } from "./trail.js";

const trail = new Trail({
  brokers: process.env.LLMTRAIL_KAFKA.split(","),
  topicPrefix: process.env.LLMTRAIL_KAFKA__TOPIC_PREFIX ?? "",
});

trail.record({
  request_id: "r-42",
  user_id: "u-7",
  feature: "search",
  service: "search-api",
  operation: "chat",
  provider: "openai",
  request_model: "gpt-4o-mini",
  response_model: "gpt-4o-mini-2024-07-18",
  messages: [{ role: "user", content: "How tall is the Zugspitze?" }],
  output: "2,962 m",
  usage: { input_tokens: 14, output_tokens: 6 },
  latency_ms: 412.7,
  status: "ok",
  finish_reasons: ["stop"],
  versions: { prompt: "v12" },
});

trail.record({
  request_id: "r-43",
  provider: "openai",
  request_model: "gpt-4o-mini",
  messages: [{ role: "user", content: "And in feet?" }],
  status: "error",
  error: { type: "RateLimitError", message: "Rate limit reached", http_status: 429 },
  latency_ms: 88.1,
});

const { sent, dropped } = await trail.close();
console.log(`${sent} sent, ${dropped} dropped`);
