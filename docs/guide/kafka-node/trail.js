// Sends LLM calls to `llm.calls`: ids, keys, batches, and nothing lost while brokers restart.
// Copy it into your application; it needs kafkajs alone.

import { randomBytes } from "node:crypto";
import { CompressionTypes, Kafka, Partitioners, logLevel } from "kafkajs";

// A batch is sent when it has this many calls, or its oldest call has waited this long.
const BATCH_CALLS = 500;
const LINGER_MS = 200;
// Calls that may wait in memory while brokers are away; beyond that the newest are dropped, and counted.
const WAITING_CALLS_MAX = 20_000;
// One event, with its key and headers, must fit into what the topic takes (8,388,608 bytes).
const EVENT_BYTES_MAX = 7_900_000;
const BATCH_BYTES_MAX = 1_000_000;
const RETRY_FIRST_MS = 250;
const RETRY_LAST_MS = 30_000;
const CLOSING_RETRY_MS = 500;

/** Return a UUIDv7: time-ordered, made once for each call. It is what tells a repeat from a new call. */
export function uuid7(nowMs = Date.now()) {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(nowMs, 0, 6);
  bytes[6] = 0x70 | (bytes[6] & 0x0f);
  bytes[8] = 0x80 | (bytes[8] & 0x3f);
  const hex = bytes.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** Return the record's key: a call's repeats and revisions meet in one partition. */
export function logKey(event) {
  return event.call_id;
}

/** Sends calls in the background. `record` never throws and never waits; `close` sends what is left. */
export class Trail {
  /** `brokers`: ["kafka-1:9092"]. `kafka`: more of kafkajs's own settings, such as `ssl` and `sasl`. */
  constructor({ brokers, topicPrefix = "", kafka = {} }) {
    const client = new Kafka({ clientId: "llmtrail-node", brokers, logLevel: logLevel.NOTHING, ...kafka });
    this.counts = { recorded: 0, sent: 0, dropped: 0 };
    this.#topic = `${topicPrefix}llm.calls`;
    this.#producer = client.producer({
      // Java's murmur2, as every other client of the topic: the same key finds the same partition.
      createPartitioner: Partitioners.DefaultPartitioner,
      allowAutoTopicCreation: false,
      // One request under way at a time: what is sent again comes in order.
      maxInFlightRequests: 1,
      retry: { retries: 3 },
    });
  }

  #topic;
  #producer;
  #isConnected = false;
  #waiting = [];
  #timer = null;
  #sending = null;
  #isClosing = false;
  #batchCalls = BATCH_CALLS;

  /** Take one call (see docs/guide/event.md; a model is needed); ids and time are made where they are missing. */
  record(call) {
    this.counts.recorded += 1;
    try {
      const event = { call_id: uuid7(), started_at: new Date().toISOString(), ...call };
      const value = Buffer.from(JSON.stringify(event));
      const hasModel = event.request_model || event.response_model;
      if (!hasModel || value.length > EVENT_BYTES_MAX || this.#waiting.length >= WAITING_CALLS_MAX) {
        this.counts.dropped += 1;
        return;
      }
      const headers = { source: "sdk", schema: "call.v1", ...(event.tenant ? { tenant: event.tenant } : {}) };
      this.#waiting.push({ key: logKey(event), value, headers });
    } catch {
      this.counts.dropped += 1; // JSON cannot say it.
      return;
    }
    if (this.#waiting.length >= BATCH_CALLS) this.#send();
    else this.#timer ??= setTimeout(() => this.#send(), LINGER_MS);
  }

  /** Send what is left, for at most `timeoutMs`; return the counts: what is neither sent nor dropped was not sent. */
  async close(timeoutMs = 10_000) {
    this.#isClosing = true;
    let timer;
    const late = new Promise((resolve) => (timer = setTimeout(resolve, timeoutMs, "late")));
    this.#send();
    while (this.#sending && (await Promise.race([this.#sending, late])) !== "late") this.#send();
    this.#waiting.length = 0;
    await Promise.race([this.#producer.disconnect().catch(() => {}), late]);
    clearTimeout(timer);
    return this.counts;
  }

  #send() {
    clearTimeout(this.#timer);
    this.#timer = null;
    if (!this.#sending && this.#waiting.length) {
      this.#sending = this.#drain().finally(() => (this.#sending = null));
    }
  }

  /** Send batch after batch; a batch leaves the queue only when all in-sync brokers have it. */
  async #drain() {
    let waitMs = RETRY_FIRST_MS;
    while (this.#waiting.length) {
      const batch = this.#nextBatch();
      try {
        if (!this.#isConnected) {
          await this.#producer.connect();
          this.#isConnected = true;
        }
        await this.#producer.send({
          topic: this.#topic,
          messages: batch,
          acks: -1,
          compression: CompressionTypes.GZIP,
        });
        this.#waiting.splice(0, batch.length);
        this.counts.sent += batch.length;
        this.#batchCalls = BATCH_CALLS;
        waitMs = RETRY_FIRST_MS;
      } catch (error) {
        if (error.type === "MESSAGE_TOO_LARGE") {
          this.#giveWay(batch);
          continue;
        }
        // Some of it may have arrived. Sent again it is known by its call_id, and stored once.
        await new Promise((resolve) => setTimeout(resolve, waitMs));
        waitMs = Math.min(waitMs * 2, this.#isClosing ? CLOSING_RETRY_MS : RETRY_LAST_MS);
      }
    }
  }

  /** After a refusal for size: send fewer at a time; one that is refused alone is dropped, for it would stop the rest. */
  #giveWay(batch) {
    this.#batchCalls = Math.max(1, batch.length >> 1);
    if (batch.length === 1) {
      this.#waiting.shift();
      this.counts.dropped += 1;
    }
  }

  #nextBatch() {
    let bytes = 0;
    let count = 0;
    for (const { value } of this.#waiting) {
      bytes += value.length;
      if (count && (bytes > BATCH_BYTES_MAX || count >= this.#batchCalls)) break;
      count += 1;
    }
    return this.#waiting.slice(0, count);
  }
}
