// Quantises every matrix of a GGUF file to a type and prints what that loses: for each its squared
// error, its sum of squares and the SHA-256 of its blocks. For tools/check_gguf_quantize.py.
#include <chrono>
#include <iostream>
#include <vector>

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/io/gguf.h"
#include "prunus/io/gguf_quantize.h"

namespace prunus {
namespace {

void run(const std::string& path, const std::string& type_name) {
  const GgufBlockType* type = find_gguf_block_type(type_name);
  PRUNUS_CHECK(type != nullptr, InvalidArgument, type_name, ": no such type");
  const auto file = GgufFile::open(path);
  double seconds = 0;
  for (const auto& tensor : file->tensors()) {
    if (tensor.shape.size() < 2 || tensor.columns() % type->elements != 0) continue;
    const auto values = file->read(tensor);
    std::vector<std::byte> blocks(
        static_cast<size_t>(values.numel() / type->elements * type->bytes));
    auto back = at::empty_like(values);
    const auto start = std::chrono::steady_clock::now();
    quantize_gguf_rows(*type, values.const_data_ptr<float>(), tensor.rows(), tensor.columns(),
                       blocks.data());
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    dequantize_gguf_rows(*type, blocks.data(), tensor.rows(), tensor.columns(),
                         back.mutable_data_ptr<float>());
    const auto difference = (back - values).to(at::kDouble);
    std::cout << tensor.name << "\t" << difference.square().sum().item<double>() << "\t"
              << values.to(at::kDouble).square().sum().item<double>() << "\t"
              << sha256({reinterpret_cast<const char*>(blocks.data()), blocks.size()}) << "\n";
  }
  std::cerr << seconds << " s\n";
}

}  // namespace
}  // namespace prunus

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: gguf_requantize FILE.gguf TYPE\n";
    return 2;
  }
  try {
    prunus::run(argv[1], argv[2]);
    return 0;
  } catch (const prunus::Error& error) {
    std::cerr << error.what() << "\n";
    return prunus::exit_code(error.kind());
  }
}
