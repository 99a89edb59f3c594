# Two commands matter: `make demo` and `make test`. Both set up everything they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.ready

.PHONY: demo test test-slow check fix bench bench-twins sabotage clean

$(SETUP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade -c constraints.txt "pip>=24"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

demo: $(SETUP)  ## scan the bundled models and end with the report's path
	$(BIN)/advaudit scan examples/mnist/natural.onnx --config examples/mnist/natural.toml \
		--overwrite --out advaudit-out/natural
	$(BIN)/advaudit scan examples/mnist/int8.onnx --config examples/mnist/natural.toml \
		--overwrite --out advaudit-out/int8
	$(BIN)/advaudit scan examples/mnist/robust.onnx --overwrite --out advaudit-out/robust
	@$(BIN)/advaudit report advaudit-out/robust advaudit-out/natural advaudit-out/int8 --out advaudit-out

test: $(SETUP)  ## everything that is fast; what CI runs
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(SETUP)  ## the rest: kills and resumes, wheels in fresh environments, whole files
	$(BIN)/python -m pytest -m slow

check: $(SETUP)  ## style and types, exactly as CI does
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: $(SETUP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(SETUP)  ## side by side with other libraries, in an environment of its own
	$(PYTHON) -m venv .benchmarks/venv
	.benchmarks/venv/bin/python -m pip install --quiet --upgrade -c constraints.txt "pip>=24"
	.benchmarks/venv/bin/python -m pip install --quiet -c constraints.txt -e ".[peers]"
	# these ask for torchvision, which has no build for this torch and is not used
	.benchmarks/venv/bin/python -m pip install --quiet --no-deps \
		torchattacks==3.5.1 onnx2pytorch==0.6.0 onnx2torch==1.5.15
	.benchmarks/venv/bin/python -m benchmarks.pgd
	.benchmarks/venv/bin/python -m benchmarks.operators

bench-twins: $(SETUP)  ## twins of timm's architectures against the modules, in an environment of its own
	$(PYTHON) -m venv .benchmarks/twins-venv
	.benchmarks/twins-venv/bin/python -m pip install --quiet --upgrade -c constraints.txt "pip>=24"
	.benchmarks/twins-venv/bin/python -m pip install --quiet -c constraints.txt -e . \
		onnxscript==0.7.2 pyyaml huggingface_hub safetensors
	.benchmarks/twins-venv/bin/python -m pip install --quiet --no-deps timm==1.0.31  # torchvision is stubbed
	.benchmarks/twins-venv/bin/python -m benchmarks.twins
	.benchmarks/twins-venv/bin/python -m benchmarks.quantised_twins

sabotage: $(SETUP)  ## break our own code on purpose: every mutation must make a test fail
	$(BIN)/python -m benchmarks.sabotage

clean:
	rm -rf $(VENV) .benchmarks build dist *.egg-info
