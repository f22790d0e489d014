#pragma once
#include <optional>
#include <string>

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include "prunus/base/json.h"
#include "prunus/base/option.h"
#include "prunus/model/model.h"

namespace prunus {

/// A GGUF file as a Hugging Face directory.
struct ImportJob {
  std::string model;
  std::string out_dir;
  std::string recipe;
  std::optional<at::ScalarType> dtype = {};  ///< of every weight; none: each one's own
  bool force = false;
  at::Device device = at::kCPU;
};

/// Every option of `prunus import`.
extern const OptionTable<ImportJob> import_table;

/// The same weights in another dtype, each read as it is asked for.
class ConvertedSource : public WeightSource {
 public:
  ConvertedSource(std::shared_ptr<const WeightSource> source, at::ScalarType dtype)
      : source_(std::move(source)), dtype_(dtype) {}
  at::Tensor read(const TensorInfo& tensor) const override {
    return source_->read(tensor).to(dtype_);
  }
  at::Tensor read_rows(const TensorInfo& tensor, int64_t begin, int64_t count) const override {
    return source_->read_rows(tensor, begin, count).to(dtype_);
  }
  at::Tensor select_rows(const TensorInfo& tensor, const at::Tensor& rows) const override {
    return source_->select_rows(tensor, rows).to(dtype_);
  }
  bool has(const TensorInfo& tensor) const override { return source_->has(tensor); }
  at::ScalarType dtype(const TensorInfo&) const override { return dtype_; }
  void prefetch(const TensorInfo& tensor) const override { source_->prefetch(tensor); }
  void release(const TensorInfo& tensor) const override { source_->release(tensor); }

 private:
  std::shared_ptr<const WeightSource> source_;
  at::ScalarType dtype_;
};

/// Writes the directory (staged, one tensor in memory at a time), opens it again and compares
/// logits; → run.json. Throws InvalidArgument where the input is no GGUF file, as open_gguf_model()
/// and gguf_tokenizer_files(); Corrupt for a weight that is not finite, or too large for `dtype`;
/// Io; OutputCheck.
Json run_import(const ImportJob& job);

}  // namespace prunus
