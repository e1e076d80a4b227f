# The documentation site. The pages of docs/reference are written from the code and committed, so that they can be read
# without a build; tests/structure fails when one is not current.
.PHONY: docs docs-serve reference

$(VENV)/.installed-docs: $(VENV)/.installed
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "the site generator needs Python 3.11; choose one with: make VENV=.venv-docs PYTHON=python3.11 docs" >&2; exit 2; }
	@echo "installing the site generator"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fast,docs]'
	@touch $@

docs: $(VENV)/.installed-docs ## build the documentation into site/ and check its links and anchors
	@$(BIN)/python -m docpages --check
	@$(BIN)/zensical build --clean --strict

docs-serve: $(VENV)/.installed-docs ## serve the documentation on http://127.0.0.1:8000 and rebuild it on every change
	@$(BIN)/zensical serve

reference: $(VENV)/.installed ## write docs/reference from the code
	@$(BIN)/python -m docpages
