# Other load generators, each in its own environment below .venv-peers, for the table in docs/benchmarks.md.
# One that cannot be installed is left out, and the table says so. `vllm bench serve` comes with `make vllm`.
PEERS_VENV ?= .venv-peers
PEERS := guidellm aiperf

.PHONY: peers
peers: $(PEERS:%=$(PEERS_VENV)/%/.tried) ## install guidellm and aiperf for `python -m benchmarks.loadgen` (a few minutes)

$(PEERS_VENV)/%/.tried:
	@echo "creating $(PEERS_VENV)/$*"
	@$(PYTHON) -m venv $(PEERS_VENV)/$*
	@$(PEERS_VENV)/$*/bin/python -m pip install --quiet --disable-pip-version-check $* >$(PEERS_VENV)/$*/install.log 2>&1 \
		|| echo "$* could not be installed; see $(PEERS_VENV)/$*/install.log" >&2
	@touch $@
