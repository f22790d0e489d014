#pragma once
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>
#include <unistd.h>

#include "prunus/base/error.h"

namespace prunus::fuzz {

/// Runs `read` on bytes that anybody may have written. What Prunus may answer is a value or one of
/// the errors that blame the input; anything else is a fault and ends the program.
template <typename Read>
void accept_or_refuse(const Read& read) {
  try {
    read();
  } catch (const Error& error) {
    switch (error.kind()) {
      case ErrorKind::InvalidArgument:
      case ErrorKind::Corrupt:
      case ErrorKind::NotFound:
      case ErrorKind::Unsupported:
        return;
      default:
        std::cerr << "an input was refused as '" << error_kind_name(error.kind())
                  << "': " << error.what() << "\n";
        std::abort();
    }
  }
}

/// Ends the program: a promise was broken.
inline void require(bool promise, std::string_view what) {
  if (promise) return;
  std::cerr << "broken promise: " << what << "\n";
  std::abort();
}

/// A directory under $TMPDIR for readers that want a file, one for the process.
inline const std::string& scratch_dir() {
  // Never destroyed: the handler below runs after static objects have gone.
  static const std::string& dir = *new std::string([] {
    const auto path =
        std::filesystem::temp_directory_path() / ("prunus-fuzz-" + std::to_string(::getpid()));
    std::filesystem::create_directories(path);
    std::atexit([] {
      std::error_code ignored;
      std::filesystem::remove_all(scratch_dir(), ignored);
    });
    return path.string();
  }());
  return dir;
}

/// Writes `text` under `name` into the scratch directory and returns the path.
inline std::string scratch_file(const std::string& name, std::string_view text) {
  const std::string path = scratch_dir() + "/" + name;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  file.close();
  require(file.good(), "the scratch directory can be written");
  return path;
}

}  // namespace prunus::fuzz

/// The input of a target as text. Defines libFuzzer's entry point.
#define PRUNUS_FUZZ_TARGET(text)                                            \
  static void fuzz_one(std::string_view text);                              \
  extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { \
    ::prunus::fuzz::accept_or_refuse([&] {                                  \
      fuzz_one({reinterpret_cast<const char*>(data), size});                \
    });                                                                     \
    return 0;                                                               \
  }                                                                         \
  static void fuzz_one(std::string_view text)
