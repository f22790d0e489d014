// A GGUF file.
#include <span>
#include <vector>

#include "prunus/io/gguf_header.h"

#include "fuzz/target.h"

namespace {

using prunus::GgufTensor;
using prunus::GgufValue;
using prunus::GgufValueType;
using prunus::fuzz::accept_or_refuse;
using prunus::fuzz::require;

void use(const GgufValue& value) {
  accept_or_refuse([&] {
    if (value.is_array()) require(value.integers().size() == value.count(), "all are read");
  });
  accept_or_refuse([&] {
    if (value.is_array()) require(value.texts().size() == value.count(), "all are read");
  });
  accept_or_refuse([&] {
    if (value.is_array()) require(value.numbers().size() == value.count(), "all are read");
  });
  accept_or_refuse([&] { value.integer(); });
  accept_or_refuse([&] { value.number(); });
  accept_or_refuse([&] { value.boolean(); });
  accept_or_refuse([&] { std::string(value.text()); });
}

void use(const GgufTensor& tensor, std::span<const std::byte> file) {
  require(tensor.begin <= tensor.end && tensor.end <= file.size(), "tensors lie in the file");
  for (const int64_t size : tensor.shape) require(size >= 0, "sizes are not negative");
  if (tensor.bytes() == 0) return;
  const int64_t values = tensor.rows() * tensor.columns();
  require(tensor.bytes() == static_cast<uint64_t>(values / tensor.type->elements) *
                                static_cast<uint64_t>(tensor.type->bytes),
          "bytes are those of the sizes");
  if (tensor.type->dequantize == nullptr) return;
  std::vector<float> to(static_cast<size_t>(values));
  prunus::dequantize_gguf_rows(*tensor.type, file.data() + tensor.begin, tensor.rows(),
                               tensor.columns(), to.data());
}

}  // namespace

PRUNUS_FUZZ_TARGET(input) {
  const auto file = std::as_bytes(std::span(input));
  const auto header = prunus::parse_gguf_header(file, "file");
  for (const auto& [key, value] : header.metadata) use(value);
  uint64_t total = 0;
  for (const auto& tensor : header.tensors) {
    use(tensor, file);
    total += tensor.bytes();
  }
  require(total <= file.size(), "tensors do not overlap");
}
