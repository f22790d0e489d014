# make demo | test | build | bench | format; each sets up what it needs by itself.
PRESET ?= $(if $(filter demo,$(MAKECMDGOALS)),demo,dev)
BUILD := build/$(PRESET)
JOBS ?= $(shell nproc)

.PHONY: build test demo bench format format-check asan asan-files headers fuzz setup clean

build: $(BUILD)/build.ninja
	cmake --build --preset $(PRESET) -j $(JOBS)

setup:
	@tools/setup.sh

$(BUILD)/build.ninja: CMakeLists.txt CMakePresets.json $(wildcard cmake/*.cmake) tools/setup.sh | setup
	cmake --preset $(PRESET)

test: build
	ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS) -LE gpu

# The program alone, several files compiled as one: a quarter of a whole build.
demo: $(BUILD)/build.ninja
	cmake --build --preset $(PRESET) -j $(JOBS) --target prunus
	python3 tools/demo.py --prunus $(BUILD)/prunus

bench: build
	python3 tools/run_benches.py --build $(BUILD)

asan:
	$(MAKE) test PRESET=asan

# The folders that read untrusted files, alone: what .ci/run has time for.
asan-files:
	$(MAKE) build PRESET=asan-files
	ctest --test-dir build/asan-files --output-on-failure -j $(JOBS) -R '^(io|text|model|graph)\.fast$$'

# Every public header compiled by itself, without the precompiled header.
headers:
	$(MAKE) build/nopch/build.ninja PRESET=nopch
	cmake --build --preset nopch -j $(JOBS) --target all_verify_interface_header_sets

# Each target of fuzz/ for RUNS executions under AddressSanitizer and UBSan (Clang's libFuzzer).
RUNS ?= 1000000
fuzz:
	tools/setup.sh --fuzz
	cmake --preset fuzz
	cmake --build --preset fuzz -j $(JOBS)
	python3 tools/fuzz.py --build build/fuzz --runs $(RUNS)

format: setup
	git ls-files '*.h' '*.cpp' | xargs clang-format-14 -i

format-check: setup
	git ls-files '*.h' '*.cpp' | xargs clang-format-14 --dry-run --Werror

clean:
	rm -rf build
