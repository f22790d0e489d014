#pragma once
#include <cstdlib>

#include <ATen/Context.h>
#include <c10/core/Device.h>

#include <gtest/gtest.h>

namespace prunus::test {

/// Where the tests of a *_device_test.cpp run: each is compiled into the fast tests of its folder,
/// for the CPU, and into the gpu tests, for CUDA. So what needs a GPU cannot rot where there is
/// none.
#ifdef PRUNUS_TEST_ON_CUDA
inline constexpr c10::DeviceType kTestDevice = c10::kCUDA;
#else
inline constexpr c10::DeviceType kTestDevice = c10::kCPU;
#endif

}  // namespace prunus::test

/// First line of every test that uses CUDA, or may: skips where there is none. With
/// $PRUNUS_NEED_GPU set (tools/gpu_check.sh) that is a failure.
#define PRUNUS_NEED_DEVICE(device)                                             \
  if ((device) == c10::kCUDA && !at::hasCUDA()) {                              \
    if (std::getenv("PRUNUS_NEED_GPU") != nullptr) FAIL() << "no CUDA device"; \
    GTEST_SKIP() << "skipped: this libtorch sees no CUDA device";              \
  }
