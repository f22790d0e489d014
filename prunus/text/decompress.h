#pragma once
#include <string>
#include <string_view>

namespace prunus::text {

/// How the bytes of a text file are packed.
enum class Compression { None, Gzip, Zstd };

/// Told from the first bytes. Throws Unsupported, saying what to do instead, for other kinds that
/// have such marks: bzip2, xz, zip, parquet, arrow.
Compression compression_of(std::string_view bytes, const std::string& where);

/// What compressed bytes hold: all members of a gzip file, all frames of a zstd file.
/// Throws Corrupt: cut short, damaged, followed by other bytes; or more than 64 MiB that are more
/// than 200 times `bytes`, which no text is and a bomb would be; Unsupported: a zstd window above
/// 128 MiB. Interrupted.
std::string decompress(std::string_view bytes, Compression compression, const std::string& where);

/// "none", "gzip", "zstd".
std::string_view compression_name(Compression compression);

}  // namespace prunus::text
