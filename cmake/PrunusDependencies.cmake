# Third-party libraries. Nothing is fetched here: tools/setup.sh installs what the machine lacks.
# libtorch: whatever CMAKE_PREFIX_PATH or Torch_DIR names, else the pip wheel in .venv.
find_package(Torch QUIET)
if(NOT TORCH_FOUND AND NOT Torch_FOUND)
  file(GLOB venv_torch "${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch/share/cmake/Torch")
  if(NOT venv_torch)
    message(FATAL_ERROR "No libtorch: run tools/setup.sh, or pass -DCMAKE_PREFIX_PATH=/path/to/libtorch")
  endif()
  list(GET venv_torch 0 Torch_DIR)
  find_package(Torch REQUIRED)
endif()
message(STATUS "libtorch ${Torch_VERSION} at ${TORCH_INSTALL_PREFIX}")
if(Torch_VERSION VERSION_LESS 2.4)
  message(FATAL_ERROR "Prunus needs libtorch 2.4 or newer, found ${Torch_VERSION} in ${Torch_DIR}")
endif()
# The wheel's flags choose the C++ ABI; they must hold for every translation unit.
separate_arguments(torch_flags UNIX_COMMAND "${TORCH_CXX_FLAGS}")
add_compile_options(${torch_flags})
# What the libraries link: an installed one names libtorch's target, never a path of this machine.
set(PRUNUS_TORCH $<INSTALL_INTERFACE:torch>)
foreach(library IN LISTS TORCH_LIBRARIES)
  list(APPEND PRUNUS_TORCH $<BUILD_INTERFACE:${library}>)
endforeach()

include(PrunusOpenMP)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  prunus_openmp(PRUNUS_OPENMP)
endif()

find_package(nlohmann_json 3.11 REQUIRED)
find_package(CLI11 2.1 REQUIRED)
# Used as headers alone, in one file: whoever links an installed Prunus needs no toml++.
find_path(TOMLPLUSPLUS_INCLUDE toml++/toml.h REQUIRED)
add_library(prunus_toml INTERFACE)
target_include_directories(prunus_toml SYSTEM INTERFACE ${TOMLPLUSPLUS_INCLUDE})
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
find_package(ZLIB REQUIRED)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(SENTENCEPIECE REQUIRED IMPORTED_TARGET sentencepiece)

# <ATen/ATen.h> costs 9 s per translation unit; precompiled once, under 3 s. Where a folder is one
# unit, JSON is in nearly all of them.
if(PRUNUS_PCH)
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/pch.cpp CONTENT "// holds the precompiled header\n")
  add_library(prunus_pch STATIC ${CMAKE_BINARY_DIR}/pch.cpp)
  target_link_libraries(prunus_pch PRIVATE ${PRUNUS_TORCH} nlohmann_json::nlohmann_json)
  prunus_configure(prunus_pch)
  target_precompile_headers(prunus_pch PRIVATE <ATen/ATen.h>
                            $<$<BOOL:${PRUNUS_UNITY}>:<nlohmann/json.hpp$<ANGLE-R>>)
endif()
