#include "prunus/export/gguf_copy.h"

#include <cstring>

#include <ATen/ATen.h>

#include "prunus/model/gguf_source.h"

namespace prunus {
namespace {

// What a part is made of in the file that it comes from.
struct Place {
  const GgufSource* source = nullptr;
  const GgufPlace* place = nullptr;
  WeightOrigin from;
};

std::optional<Place> place_of(const GgufOutput::Part& part, const Model& model) {
  auto from = origin_of(model.source(), *part.tensor);
  if (!from) return std::nullopt;
  const auto* source = dynamic_cast<const GgufSource*>(from->source);
  if (source == nullptr) return std::nullopt;
  return Place{source, &source->place(from->tensor), std::move(*from)};
}

// Rows of a file's tensor that are written one after the other, and which columns of them.
struct Rows {
  const GgufFile* file = nullptr;
  const GgufTensor* tensor = nullptr;
  at::Tensor rows;     // int64
  at::Tensor columns;  // int64; undefined: all
};

at::Tensor all_of(int64_t count) { return at::arange(count, at::kLong); }

// The order that a form gives to rows. `rows`: [n].
at::Tensor in_form(const at::Tensor& rows, const GgufOutput::Part& part, int64_t head_dim) {
  if (part.name->form != GgufForm::RotaryPairs) return rows;
  return to_gguf_form(rows.unsqueeze(1), part.name->form, *part.tensor->spec, head_dim, 0)
      .squeeze(1);
}

// For each row of a weight, in the model's order, where it stands in the file's tensor.
at::Tensor stored_rows(const Place& from, int64_t head_dim) {
  at::Tensor rows = all_of(from.place->rows);
  if (from.place->name->form == GgufForm::RotaryPairs) {
    rows = from_gguf_form(rows.unsqueeze(1), from.place->name->form, *from.from.tensor.spec,
                          head_dim, 0)
               .squeeze(1);
  }
  return rows + from.place->begin;
}

bool beside_each_other(const GgufOutput::Part& part) {
  return part.name->form == GgufForm::Stacked &&
         part.tensor->spec->axes[0].factors[0] != Factor::Expert;
}

// Of experts whose matrices stand beside each other in the model: a list for each expert that is
// left. Empty where one is made of columns of several.
std::vector<Rows> rows_of_experts(const GgufOutput::Part& part, const Place& from) {
  const GgufTensor& tensor = *from.place->tensor;
  const int64_t inner = tensor.columns();
  const int64_t height = tensor.rows() / from.place->experts;
  const at::Tensor columns =
      from.from.columns.defined() ? from.from.columns : all_of(inner * from.place->experts);
  const at::Tensor rows = from.from.rows.defined() ? from.from.rows : all_of(height);
  std::vector<Rows> lists;
  for (const at::Tensor& mine : columns.view({part.tensor->stored.experts, -1}).unbind(0)) {
    const at::Tensor experts = mine.div(inner, "floor");
    const auto expert = experts[0].item<int64_t>();
    if (!experts.eq(expert).all().item<bool>()) return {};
    lists.push_back({&from.source->file(), &tensor, rows + expert * height, mine - expert * inner});
  }
  return lists;
}

std::vector<Rows> rows_of(const GgufOutput::Part& part, const Model& model,
                          const GgufBlockType& type) {
  auto from = place_of(part, model);
  if (!from || !from->from.same_values || from->place->tensor->type != &type) return {};
  if (from->place->name->form == GgufForm::OnePlus || part.name->form == GgufForm::Row) return {};
  const bool stacked = from->place->name->form == GgufForm::Stacked;
  if (stacked != (part.name->form == GgufForm::Stacked)) return {};
  if (beside_each_other(part)) return rows_of_experts(part, *from);
  const int64_t head_dim = model.config().head_dim;
  at::Tensor rows = stored_rows(*from, head_dim);
  if (from->from.rows.defined()) rows = rows.index_select(0, from->from.rows);
  return {{&from->source->file(), from->place->tensor, in_form(rows, part, head_dim),
           from->from.columns}};
}

// The numbers of the blocks that the columns are; null where they are no whole blocks in order.
std::optional<at::Tensor> blocks_of(const Rows& rows, const GgufBlockType& type) {
  if (!rows.columns.defined()) return all_of(rows.tensor->columns() / type.elements);
  if (rows.columns.numel() % type.elements != 0) return std::nullopt;
  const at::Tensor columns = rows.columns.view({-1, type.elements});
  const at::Tensor blocks = columns.select(1, 0).div(type.elements, "floor");
  const at::Tensor whole = blocks.unsqueeze(1) * type.elements + all_of(type.elements);
  return at::equal(columns, whole) ? std::optional(blocks) : std::nullopt;
}

void append(const Rows& from, const at::Tensor& blocks, const GgufBlockType& type,
            std::vector<std::byte>& to) {
  const at::Tensor rows = from.rows.contiguous();
  const at::Tensor chosen = blocks.contiguous();
  const auto row_count = static_cast<size_t>(rows.numel());
  const auto block_count = static_cast<size_t>(chosen.numel());
  const auto size = static_cast<size_t>(type.bytes);
  const size_t row_bytes = static_cast<size_t>(from.tensor->columns() / type.elements) * size;
  const std::byte* source = from.file->bytes(*from.tensor).data();
  const size_t begin = to.size();
  to.resize(begin + row_count * block_count * size);
  std::byte* at = to.data() + begin;
  const auto* row = rows.const_data_ptr<int64_t>();
  const auto* block = chosen.const_data_ptr<int64_t>();
  for (size_t i = 0; i < row_count; ++i) {
    for (size_t k = 0; k < block_count; ++k, at += size) {
      std::memcpy(
          at,
          source + static_cast<size_t>(row[i]) * row_bytes + static_cast<size_t>(block[k]) * size,
          size);
    }
  }
}

}  // namespace

const GgufBlockType* source_type(const GgufOutput& output, const Model& model) {
  const GgufBlockType* type = nullptr;
  for (const GgufOutput::Part& part : output.parts) {
    const auto from = place_of(part, model);
    if (!from || (type != nullptr && type != from->place->tensor->type)) return nullptr;
    type = from->place->tensor->type;
  }
  return type;
}

std::optional<std::vector<std::byte>> copied_blocks(const GgufOutput& output, const Model& model,
                                                    const GgufBlockType& type) {
  if (type.elements == 1 || output.parts.empty()) return std::nullopt;
  std::vector<std::byte> bytes;
  for (const GgufOutput::Part& part : output.parts) {
    const std::vector<Rows> lists = rows_of(part, model, type);
    if (lists.empty()) return std::nullopt;
    for (const Rows& rows : lists) {
      const auto blocks = blocks_of(rows, type);
      if (!blocks) return std::nullopt;
      append(rows, *blocks, type, bytes);
    }
    model.source().release(*part.tensor);
  }
  return bytes;
}

}  // namespace prunus
