# Verge. The two commands to know: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

BUILD_JOBS ?= $(shell nproc)
VERGE_DATA ?= $(abspath ../shared/data)
export VERGE_DATA
ENGINES ?= openvino litert
# The tests of what runs in several threads; the rest gains nothing from ThreadSanitizer.
TSAN_TESTS := runtime_test runtime_allocation_test net_test
empty :=
space := $(empty) $(empty)

.PHONY: help deps toolchain test-env build build-tests build-asan build-tsan demo test check dist clean \
        test-release test-asan test-integration test-tsan check-long test-dist bench bench-deps fuzz fuzz-deps build-fuzz fuzz-smoke conformance conformance-env soak

help:             ## This list
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 20

deps:             ## Debian packages the build needs (asks apt only for those that are missing)
	@tools/setup/debian.sh

toolchain: deps   ## The Python environment of the converters, pinned, in .venv/toolchain (2.1 GB, one to two minutes)
	@tools/setup/python_env.sh toolchain python/toolchain-requirements.txt

test-env: deps    ## The Python environment of the integration tests, pinned, in .venv/test
	@tools/setup/python_env.sh test python/test-requirements.txt

build: toolchain  ## The release binary: build/verge and its engine plugins
	@tools/setup/build.sh build "" $(BUILD_JOBS) verge plugins

build-tests: toolchain
	@tools/setup/build.sh build "" $(BUILD_JOBS)

build-asan: toolchain
	@tools/setup/build.sh build-asan address $(BUILD_JOBS)

build-tsan: toolchain
	@tools/setup/build.sh build-tsan thread $(BUILD_JOBS) $(TSAN_TESTS)

demo: build test-env  ## Builds variants of the example model, serves them, sends 10,000 test images, prints what was measured (KEEP=1 keeps the server up)
	@.venv/test/bin/python examples/fashion-mnist/demo.py $(if $(KEEP),--keep)

test: test-release test-asan test-integration  ## The tests: release, ASan+UBSan, and integration with real engines and clients

test-release: build-tests
	@tools/setup/ctest.sh build

test-asan: build-asan
	@tools/setup/ctest.sh build-asan

test-integration: build-tests test-env
	@.venv/toolchain/bin/python -m pytest -q python/tests
	@.venv/test/bin/python -m pytest -q -m "not long" tests

check: test-tsan fuzz-smoke conformance test-dist check-long  ## The long forms: TSan, fuzzers, conformance, damage, memory, soak, the tarball in an empty root folder

test-tsan: build-tsan
	@tools/setup/ctest.sh build-tsan -R '^($(subst $(space),|,$(TSAN_TESTS)))$$'

check-long: build-tests test-env
	@.venv/test/bin/python -m pytest -q -m long tests

test-dist: dist
	@tools/dist/test_dist.sh

ROUNDS ?= 7
SECONDS ?= 2
bench-deps:       ## Debian packages that only `make bench` uses: grpc++, to compare with
	@tools/setup/debian.sh bench

bench: bench-deps build-tests test-env  ## Bare echoes, grpc++ and Verge side by side (ROUNDS=7 SECONDS=2); build/bench.json
	@[ -x build/benchmarks/echo_grpcpp ] || { cmake build >/dev/null && ninja -C build -j$(BUILD_JOBS) echo_grpcpp; }
	@.venv/test/bin/python benchmarks/bench.py --rounds $(ROUNDS) --seconds $(SECONDS)

MINUTES ?= 30
fuzz-deps: deps
	@tools/setup/debian.sh fuzz

build-fuzz: fuzz-deps toolchain
	@VERGE_CMAKE="-DVERGE_FUZZ=ON -DCMAKE_C_COMPILER=clang-14 -DCMAKE_CXX_COMPILER=clang++-14" tools/setup/build.sh build-fuzz "" $(BUILD_JOBS) fuzzers

fuzz: build-fuzz  ## A fuzzer for each parser of outside bytes, under ASan and UBSan (MINUTES=30 each; FUZZERS="http2 json" chooses)
	@tests/fuzz/run.sh build-fuzz $$(($(MINUTES) * 60)) $(FUZZERS)

fuzz-smoke: build-fuzz
	@echo "== Fuzzers, three seconds each"
	@tests/fuzz/run.sh build-fuzz 3

conformance-env: deps
	@tools/setup/python_env.sh conformance python/conformance-requirements.txt
	@[ -d .venv/conformance/lib/python3*/site-packages/mlserver ] || .venv/conformance/bin/python -m pip install -q --disable-pip-version-check --no-deps mlserver==1.7.1

conformance: build-tests conformance-env  ## The clients that pip installs, against the models that they expect (EXAMPLES=FOLDER: tritonclient's scripts; SPEC=FILE)
	@.venv/toolchain/bin/python tools/make_conformance_models.py .cache/conformance-zoo
	@.venv/conformance/bin/python tests/conformance/run.py $(if $(EXAMPLES),--examples $(EXAMPLES)) $(if $(SPEC),--spec $(SPEC))

soak: build-tests test-env  ## Mixed load with loads, unloads and cancellations (SOAK_MINUTES=3)
	@.venv/test/bin/python -m pytest -q -s -m long tests/integration/test_soak.py

dist: build       ## A relocatable tarball in dist/ (ENGINES="openvino litert" chooses whose libraries go in)
	@tools/dist/make_dist.sh "$(ENGINES)"

clean:            ## Removes what was built (not the Python environments)
	rm -rf build build-asan build-tsan build-fuzz dist .cache zoo
