# Two commands on a fresh machine with Python >= 3.11, git and make:  make demo   make test
PYTHON  ?= $(shell command -v python3.11 || command -v python3)
BIN     := .venv/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check
# A plain torch would bring several GB of CUDA packages on some machines: the exact pin finds a CPU wheel where one lies ready.
TORCH   ?= torch==2.13.0
TIMES   ?= 1
# Test processes side by side; what measures memory, time or what is left behind then runs alone.
JOBS    ?= 2
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))

.PHONY: demo test test-gpu faults check node-tests bench clean calibrate train-tiny

.venv/.base: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: conform needs Python 3.11 or newer; run: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(PIP) install -q 'setuptools>=77' wheel
	$(PIP) install -q $(TORCH)
	$(PIP) install -q -c constraints.txt -e '.[all]'
	$(PIP) install -q --no-deps --ignore-requires-python onnx2tf==2.6.9 sng4onnx==2.0.1 sne4onnx==2.0.1
	@touch $@

.venv/.dev: .venv/.base
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	@touch $@

# A real FPN text detector (PP-OCRv4) on real photographs, over three real runtimes.
demo: .venv/.base
	@$(BIN)/python -m sysnoise_conform.models.demo .demo
	@code=0; set -x; $(BIN)/conform run --model .demo/ppocr-v4-det.onnx --inputs .demo/photographs --samples 2 \
	    --shape x=1,3,320,320 --backends ort,openvino,tflite --out .demo/report || code=$$?; { set +x; } 2>/dev/null; \
	    [ ! -f .demo/report/report.html ] || echo "report: file://$(CURDIR)/.demo/report/report.html"; exit $$code

test: .venv/.dev
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal -m "not alone and not faults"
	$(BIN)/python -m pytest -q -m "alone or faults"

# contract, run and diagnosis on an NVIDIA GPU; installs nothing, and names what is missing. GPU_PYTHON: the interpreter
# that has numpy, onnx, pytest and a TensorRT; what else it has (PyTorch, onnxruntime-gpu, conform's own packages) is used
test-gpu:
	@$(GPU_PYTHON) tests/gpu.py

# backends that die, hang and lie, kills, interrupts, full disks, flipped bits: all on the real command line; ends with the
# first round that fails. make faults TIMES=10 CI_STRICT_TIME=1: ten rounds, each of at most 120 s
faults: .venv/.dev
	@for round in $$(seq $(TIMES)); do \
	    began=$$(date +%s); code=0; \
	    $(BIN)/python -m pytest -q -m faults tests/faults || code=$$?; \
	    took=$$(( $$(date +%s) - began )); echo "round $$round of $(TIMES): $$took s"; \
	    [ $$code = 0 ] || exit $$code; \
	    [ "$(CI_STRICT_TIME)" != 1 ] || [ $$took -le 120 ] || { echo "error: a round took more than 120 s"; exit 1; }; \
	done

# ruff on the tree; mypy and import-linter on what ships: the built wheel, unpacked
check: .venv/.dev
	$(BIN)/ruff check .
	rm -rf build && $(PIP) wheel -q --no-deps --no-build-isolation -w build/check .
	$(PIP) install -q --no-deps --target build/check/site build/check/*.whl
	cd build/check/site && ../../../$(BIN)/python -m mypy --config-file ../../../pyproject.toml -p sysnoise_conform
	cd build/check/site && ../../../$(BIN)/lint-imports --config ../../../pyproject.toml

# ONNX's own node tests through the golden; prints the table and writes it to docs/
node-tests: .venv/.dev
	$(BIN)/python -m sysnoise_conform.golden.node_tests --table docs/node-tests.md

# two sets of networks through every runtime, healthy and with planted faults; hours on a busy machine, goes on where it was
calibrate: .venv/.dev
	$(BIN)/python tests/calibration/calibrate.py --work .demo/calibration

# the models that come with the project, anew: their data, weights, ONNX files and figures; a quarter of an hour of one core
train-tiny: .venv/.base
	$(BIN)/python -m sysnoise_conform.models.tiny.train

# against Polygraphy and a bare script, memory, start, profile, noises; writes docs/benchmarks.md (some of it: tests/benchmarks/write_page.py --only NAME).
# an hour and a half, on an idle machine
bench: .venv/.dev
	$(BIN)/python tests/benchmarks/write_page.py

clean:
	rm -rf .venv .demo build dist conform-out
