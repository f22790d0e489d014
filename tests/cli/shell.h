#pragma once
#include <array>
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>

namespace prunus::test {

/// What a command line of sh wrote to stdout and stderr, then "exit N" where it failed.
inline std::string shell(const std::string& line) {
  std::FILE* pipe = ::popen(("{ " + line + "\n} 2>&1").c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("popen failed");
  std::string text;
  std::array<char, 4096> buffer;
  for (size_t got; (got = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    text.append(buffer.data(), got);
  }
  const int status = ::pclose(pipe);
  return status == 0 ? text : text + "exit " + std::to_string(status >> 8);
}

/// Whether the machine has a program of that name.
inline bool has_program(const std::string& name) { return shell("command -v " + name)[0] == '/'; }

inline void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

}  // namespace prunus::test
