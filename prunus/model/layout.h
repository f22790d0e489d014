#pragma once
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/model/weights.h"

namespace prunus {

/// A tensor of the checkpoint, and which of the model's weights it holds: one weight; several, in
/// order, where the checkpoint fuses them; or one expert's part of a weight.
struct FileTensor {
  std::string name;
  std::vector<int64_t> shape;  ///< as the configuration demands it
  std::vector<const TensorInfo*> parts;
  int64_t expert = -1;  ///< which expert's share of parts[0]; −1: all of every part
};

/// Fills in `stored` and the names of weights that share a tensor. `tensors` are those of a model,
/// named as in the family's table, with their shapes; stored.groups and stored.experts hold what
/// the tensor's layer has.
void place_in_files(std::vector<TensorInfo>& tensors);

/// The tensors that a checkpoint of these weights consists of. `tensors` must outlive the result.
std::vector<FileTensor> file_tensors(const std::vector<TensorInfo>& tensors);

/// The weight out of its tensor in the file: a view where rows lie together, else a copy.
/// Not for weights made of one tensor per expert.
at::Tensor part_of(const at::Tensor& stored, const TensorInfo& tensor);

/// The rows of one weight out of rows that stand as those of [out, in] in its tensor of the file
/// (a bias, or a factor of a low-rank update of the whole tensor). [of · groups, …] → [rows, …].
at::Tensor part_rows(const at::Tensor& rows, const StoredPlace& place);

/// The reverse: the rows of all parts of one tensor, in their order, as the file has them.
at::Tensor joined_rows(const std::vector<at::Tensor>& parts, int64_t groups);

/// What the file holds under this name, contiguous, in the parts' dtype.
at::Tensor file_value(const FileTensor& tensor, const WeightSource& source);

/// The names in the file of one weight.
std::vector<std::string> file_names(const TensorInfo& tensor);

/// "q_proj", "attn_norm".
std::string role_name(Role role);

}  // namespace prunus
