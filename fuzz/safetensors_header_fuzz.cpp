// A safetensors file. The first byte chooses how the rest is read: even, as the whole file; odd, as
// two bytes of data size and then the header's text, whose length in front is put right. The second
// way is for the mutations that a wrong length would waste.
#include <cstring>
#include <span>
#include <vector>

#include "prunus/io/safetensors_header.h"

#include "fuzz/target.h"

namespace {

std::vector<std::byte> file_of(std::string_view input) {
  const auto bytes = std::as_bytes(std::span(input));
  if (input.size() < 3 || std::to_integer<int>(bytes[0]) % 2 == 0) {
    return {bytes.begin() + (input.empty() ? 0 : 1), bytes.end()};
  }
  const size_t data = std::to_integer<size_t>(bytes[1]) + 256 * std::to_integer<size_t>(bytes[2]);
  const uint64_t length = input.size() - 3;
  std::vector<std::byte> file(sizeof length + length + data);
  std::memcpy(file.data(), &length, sizeof length);
  std::memcpy(file.data() + sizeof length, input.data() + 3, length);
  return file;
}

}  // namespace

PRUNUS_FUZZ_TARGET(input) {
  const std::vector<std::byte> file = file_of(input);
  uint64_t end = 0;
  for (const auto& entry : prunus::parse_safetensors_header(file, "file")) {
    using prunus::fuzz::require;
    require(entry.begin <= entry.end && entry.end <= file.size(), "tensors lie in the file");
    require(end == 0 || entry.begin == end, "tensors follow one another");
    for (const int64_t size : entry.shape) require(size >= 0, "sizes are not negative");
    end = entry.end;
  }
}
