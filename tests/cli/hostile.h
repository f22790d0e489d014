#pragma once
// Ways to damage a model directory.
#include <cstring>
#include <functional>
#include <string>

#include "prunus/io/safetensors.h"

#include "cli/fixture.h"

namespace prunus::test_cli {

using JsonEdit = std::function<void(Json&)>;

inline std::string little_endian(uint64_t value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

/// A safetensors file in its parts.
struct Weights {
  Json header;
  std::string data;

  static Weights of(const std::string& path) {
    const std::string bytes = read(path);
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    return {parse_json(bytes.substr(8, length), path), bytes.substr(8 + length)};
  }
  std::string bytes() const {
    const std::string text = header.dump();
    return little_endian(text.size()) + text + data;
  }
};

inline void edit_json(const std::string& path, const JsonEdit& edit) {
  Json json = json_of(path);
  edit(json);
  put(path, json.dump());
}

/// Takes a tensor out of a file, bytes and all, so that the rest is a sound file.
inline void drop_tensor(Weights& weights, const std::string& name) {
  const auto begin = weights.header[name]["data_offsets"][0].get<uint64_t>();
  const auto end = weights.header[name]["data_offsets"][1].get<uint64_t>();
  weights.data.erase(begin, end - begin);
  weights.header.erase(name);
  for (auto& [key, entry] : weights.header.items()) {
    if (key == "__metadata__" || entry["data_offsets"][0] < end) continue;
    for (Json& offset : entry["data_offsets"]) offset = offset.get<uint64_t>() - (end - begin);
  }
}

/// Overwrites the first element of an F32 tensor.
inline void set_first_element(const std::string& path, const std::string& name, float value) {
  const uint64_t begin = SafetensorsFile::open(path)->find(name)->begin;
  std::string bytes = read(path);
  std::memcpy(bytes.data() + begin, &value, sizeof value);
  put(path, bytes);
}

/// A change to config.json that must be refused.
struct ConfigPatch {
  const char* patch;  ///< merged into config.json
  int code;
  const char* message;
};

constexpr const char* kDown = "model.layers.1.mlp.down_proj.weight";

/// A change to the entry of kDown, F32 [16, 12], in the header that must be refused.
struct EntryChange {
  const char* what;
  JsonEdit edit;
  int code;
  const char* message;
};

class HostileTest : public CliTest {
 protected:
  void expect_refused(const EntryChange& bad) const {
    SCOPED_TRACE(bad.what);
    const std::string good = read(weights_path);
    Weights weights = Weights::of(weights_path);
    bad.edit(weights.header[kDown]);
    put(weights_path, weights.bytes());
    const Outcome run = prune();
    expect_failed(run, bad.code, bad.message);
    EXPECT_THAT(run.err, HasSubstr("tensor '"));
    put(weights_path, good);
  }

  void expect_refused(const ConfigPatch& bad) const {
    SCOPED_TRACE(bad.patch);
    const std::string good = read(model + "/config.json");
    edit_json(model + "/config.json",
              [&](Json& json) { json.merge_patch(parse_json(bad.patch, "patch")); });
    expect_failed(prune(), bad.code, bad.message);
    put(model + "/config.json", good);
  }

  std::string weights_path = model + "/model.safetensors";
};

}  // namespace prunus::test_cli
