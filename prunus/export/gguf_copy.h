#pragma once
#include <cstddef>
#include <optional>
#include <vector>

#include "prunus/export/gguf_layout.h"
#include "prunus/io/gguf_blocks.h"

namespace prunus {

/// The element type that the tensor's weights have in the GGUF file that they come from; null where
/// they come from no such file, or have several types there.
const GgufBlockType* source_type(const GgufOutput& output, const Model& model);

/// The tensor's blocks taken from the source's file bit for bit; null where that cannot be: a value
/// was changed, the type there is another one or no block type, or the columns that are left are no
/// whole blocks of it.
std::optional<std::vector<std::byte>> copied_blocks(const GgufOutput& output, const Model& model,
                                                    const GgufBlockType& type);

}  // namespace prunus
