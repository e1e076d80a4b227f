# Prefect on this machine: server with UI, work pool, deployments of prefect.yaml, worker.
#   make up && .venv/bin/prefect deployment run optimize/chat-medium --watch
PORT ?= 4200

.PHONY: up down

up: $(VENV)/.installed ## start Prefect's server, deployments and worker, and print the UI's address (PORT=4200)
	@$(BIN)/rooftune up --port $(PORT) $(ARGS)

down: $(VENV)/.installed ## stop what `make up` started
	@$(BIN)/rooftune down $(ARGS)
