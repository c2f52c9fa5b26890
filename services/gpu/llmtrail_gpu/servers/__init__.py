"""Which families each model server prints and what they report: one file a server. Data; reads no page."""

from typing import Final

from llmtrail_gpu.servers.llamacpp import LLAMACPP
from llmtrail_gpu.servers.lmdeploy import LMDEPLOY
from llmtrail_gpu.servers.nim import NIM
from llmtrail_gpu.servers.part import Server
from llmtrail_gpu.servers.sglang import SGLANG
from llmtrail_gpu.servers.tgi import TGI
from llmtrail_gpu.servers.triton import TRITON
from llmtrail_gpu.servers.trtllm import TRTLLM
from llmtrail_gpu.servers.vllm import VLLM

SERVERS: Final[tuple[Server, ...]] = (VLLM, SGLANG, TGI, TRITON, TRTLLM, LMDEPLOY, LLAMACPP, NIM)
