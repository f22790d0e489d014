#pragma once
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "prunus/io/gguf.h"
#include "prunus/model/gguf_names.h"
#include "prunus/model/model.h"
#include "prunus/model/weight_origin.h"

namespace prunus {

/// Where a weight lies in a GGUF file: rows [begin, begin + rows) of a tensor, seen as a matrix
/// whose columns are the tensor's last size. Vectors are matrices of one row.
struct GgufPlace {
  const GgufTensor* tensor = nullptr;  ///< null: the file has no such tensor
  const GgufName* name = nullptr;
  int64_t begin = 0;
  int64_t rows = 0;
  int64_t experts = 0;  ///< of a stacked tensor

  /// Whether rows of the weight are rows of the tensor, in the same order.
  bool plain() const { return name->form == GgufForm::Same; }
};

/// A GGUF file as a source of weights, dequantised as they are read. Values are those of the file:
/// weights of F16 and BF16 keep their type, all others are FP32. Only the rows that are asked for
/// are dequantised. One thread at a time, as any source.
class GgufSource : public WeightSource, public TracedSource {
 public:
  /// `config`: of this file. Throws Corrupt: a tensor is missing, or has another shape than the
  /// config asks for. Throws Unsupported: a tensor that has no place in the model (leaving it out
  /// would change the mathematics), or whose element type Prunus does not read.
  GgufSource(std::shared_ptr<const GgufFile> file, const GgufArchitecture& architecture,
             const ModelConfig& config);

  at::Tensor read(const TensorInfo& tensor) const override;
  at::Tensor read_rows(const TensorInfo& tensor, int64_t begin, int64_t count) const override;
  at::Tensor select_rows(const TensorInfo& tensor, const at::Tensor& rows) const override;
  std::optional<PackedWeight> read_packed(const TensorInfo& tensor) const override;
  bool in_blocks(const TensorInfo& tensor) const override {
    return place(tensor).tensor->type->elements > 1;
  }
  bool has(const TensorInfo& tensor) const override;
  std::optional<WeightOrigin> origin(const TensorInfo& tensor) const override {
    return WeightOrigin{.source = this, .tensor = tensor};
  }
  at::ScalarType dtype(const TensorInfo& tensor) const override;
  void prefetch(const TensorInfo& tensor) const override;
  void release(const TensorInfo& tensor) const override;

  const GgufFile& file() const { return *file_; }
  const GgufArchitecture& architecture() const { return architecture_; }
  /// Throws InvalidArgument for a weight that the model in this file does not have.
  const GgufPlace& place(const TensorInfo& tensor) const;

 private:
  void add_places(const ModelConfig& config);
  at::Tensor stored_rows(const GgufPlace& place, int64_t begin, int64_t end) const;

  std::shared_ptr<const GgufFile> file_;
  const GgufArchitecture& architecture_;
  int64_t head_dim_;
  std::vector<std::array<GgufPlace, kRoleCount>> places_;  // [layer + 1][role]
};

/// Opens a GGUF file as a model: its metadata as a config.json (gguf_config()), then every tensor's
/// presence, type and shape. No weight is read, but for one thing: a head that is stored beside the
/// embedding with the same bytes is the embedding. Throws as gguf_config() and GgufSource.
Model open_gguf_model(const std::string& path);

}  // namespace prunus
