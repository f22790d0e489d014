// Prints a line for each tensor of a GGUF file: name, type, sizes, SHA-256 of its values in FP32.
// For tools/check_gguf.py, which holds them against those of the `gguf` package.
#include <iostream>

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/io/gguf.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: gguf_digest FILE.gguf\n";
    return 2;
  }
  try {
    const auto file = prunus::GgufFile::open(argv[1]);
    for (const auto& tensor : file->tensors()) {
      const auto values = file->read(tensor).contiguous();
      const auto* bytes = reinterpret_cast<const char*>(values.const_data_ptr<float>());
      std::cout << tensor.name << "\t" << tensor.type->name << "\t" << c10::Join("x", tensor.shape)
                << "\t" << prunus::sha256({bytes, values.nbytes()}) << "\n";
      file->discard(tensor);
    }
    return 0;
  } catch (const prunus::Error& error) {
    std::cerr << error.what() << "\n";
    return prunus::exit_code(error.kind());
  }
}
