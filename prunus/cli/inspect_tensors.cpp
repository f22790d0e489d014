#include <algorithm>
#include <filesystem>

#include <ATen/ATen.h>

#include "prunus/cli/inspect_text.h"
#include "prunus/cli/text_table.h"
#include "prunus/io/checkpoint.h"
#include "prunus/io/gguf.h"
#include "prunus/io/hf_directory.h"

namespace prunus {
namespace fs = std::filesystem;

namespace {

using Align = TextTable::Align;

TextTable tensor_table() {
  return TextTable({{"tensor", Align::Left},
                    {"dtype", Align::Left},
                    {"shape", Align::Left},
                    {"elements", Align::Right}});
}

std::string list_gguf_tensors(const std::string& path) {
  TextTable table = tensor_table();
  const auto file = GgufFile::open(path);
  int64_t total = 0;
  uint64_t bytes = 0;
  for (const GgufTensor& tensor : file->tensors()) {
    const int64_t elements = tensor.rows() * tensor.columns();
    total += elements;
    bytes += tensor.bytes();
    table.add({tensor.name, std::string(tensor.type->name),
               c10::str(c10::IntArrayRef(tensor.shape)), with_commas(elements)});
  }
  table.add({"all", "", decimal_bytes(static_cast<double>(bytes)), with_commas(total)});
  return table.text();
}

}  // namespace

std::string list_tensors(const std::string& path) {
  if (is_gguf_path(path)) return list_gguf_tensors(path);
  if (!fs::is_directory(path)) return {};
  const auto files = regular_files(path);
  const bool weights = std::any_of(files.begin(), files.end(), [](const std::string& name) {
    return name.ends_with(".safetensors");
  });
  if (!weights) return {};
  TextTable table = tensor_table();
  const Checkpoint checkpoint = Checkpoint::open(path);
  int64_t total = 0;
  for (const std::string& name : checkpoint.names()) {
    const TensorEntry& entry = checkpoint.entry(name);
    const int64_t elements = c10::multiply_integers(entry.shape);
    total += elements;
    table.add(
        {name, entry.dtype_name, c10::str(c10::IntArrayRef(entry.shape)), with_commas(elements)});
  }
  table.add({"all", "", decimal_bytes(static_cast<double>(checkpoint.total_bytes())),
             with_commas(total)});
  return table.text();
}

}  // namespace prunus
