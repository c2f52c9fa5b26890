"""Azure AI agents (Foundry), Azure AI Inference, and what passes through Application Insights."""

from llmtrail_ingest.otlp.profiles.profile import Profile

AZURE_AGENTS = Profile(
    name="azure-ai-agents",
    source="https://github.com/Azure/azure-sdk-for-python: azure-ai-agents/azure/ai/agents/telemetry",
    scopes=("azure.ai.agents", "azure.ai.projects", "azure.ai.inference", "Azure.AI"),
    marks=("gen_ai.thread.run.status", "gen_ai.thread.run.id"),
    # The model runs at the service; the span that waits for a run is all that tells what it used.
    operations={
        "process_thread_run": "",
        "start_thread_run": "",
        "get_thread_run": "",
        "create_thread": "",
        "create_message": "",
        "list_messages": "",
        "list_run_steps": "",
        "submit_tool_outputs": "",
    },
)
