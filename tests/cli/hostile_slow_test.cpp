// The long loops over hostile files: a process for each key × value and each offset.
#include <map>
#include <random>

#include "cli/hostile.h"

namespace prunus::test_cli::hostile_slow_test {
namespace {

class HostileLoop : public HostileTest {};

// More of hostile_test.cpp's kPatches.
const ConfigPatch kMorePatches[] = {
    {R"({"rope_scaling": {"type": "ntk", "factor": 2.0}})", 4, "'ntk'"},
    {R"({"rope_scaling": {"rope_type": "linear", "factor": -2.0}})", 3, "factor"},
    {R"({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}})", 3, "low_freq_factor"},
    {R"({"rope_scaling": 5})", 3, "rope_scaling"},
    {R"({"hidden_act": 7})", 3, "hidden_act"},
    {R"({"layer_intermediate_size": [12, -12]})", 3, "layer_intermediate_size"},
    {R"({"layer_num_key_value_heads": [4, 3]})", 3, "layer 1"},
    {R"({"hidden_size": 18446744073709551615})", 3, "hidden_size"},
    {R"({"intermediate_size": 13})", 3, "model.layers.0.mlp"},
    {R"({"head_dim": 3})", 3, "head_dim"},
};

// More of hostile_test.cpp's kChanges.
const EntryChange kMoreChanges[] = {
    {"no dtype", [](Json& e) { e.erase("dtype"); }, 3, "has no dtype"},
    {"dtype of another type", [](Json& e) { e["dtype"] = 32; }, 3, "dtype"},
    {"no shape", [](Json& e) { e.erase("shape"); }, 3, "has no shape"},
    {"negative shape",
     [](Json& e) {
       e["shape"] = {-16, -12};
     },
     3, "shape"},
    {"no offsets", [](Json& e) { e.erase("data_offsets"); }, 3, "has no data_offsets"},
    {"one offset", [](Json& e) { e["data_offsets"].erase(1); }, 3, "data_offsets"},
};

TEST_F(HostileLoop, MoreBrokenFieldsOfATensorAreRefusedByName) {
  for (const EntryChange& change : kMoreChanges) expect_refused(change);
}

TEST_F(HostileLoop, MoreContradictionsInTheConfigAreRefusedByName) {
  for (const ConfigPatch& patch : kMorePatches) expect_refused(patch);
}

struct Mutation {
  const char* name;
  const char* value;  // JSON; nullptr removes the key
};

constexpr Mutation kMutations[] = {
    {"removed", nullptr}, {"null", "null"}, {"text", "\"x\""}, {"negative", "-1"}, {"zero", "0"},
    {"huge", "1e30"},     {"true", "true"}, {"list", "[]"},    {"object", "{}"},
};

using Names = std::set<std::string>;

// The mutations that leave a sound Llama: what has a default may go, what is any positive number
// may be huge, a tied head may be stored, and Llama has no window, so its size is not read.
const std::map<std::string, Names> kLegalInLlama = {
    {"architectures", {"removed", "null"}},
    {"num_key_value_heads", {"removed", "null"}},
    {"head_dim", {"removed", "null"}},
    {"max_position_embeddings", {"removed", "null"}},
    {"rms_norm_eps", {"removed", "null", "huge"}},
    {"rope_theta", {"removed", "null", "huge"}},
    {"tie_word_embeddings", {"removed", "null", "true"}},
    {"sliding_window",
     {"removed", "null", "text", "negative", "zero", "huge", "true", "list", "object"}},
};

// The others read the window; their classes' defaults of 8 or 32 KV heads do not fit 4 heads; and
// Qwen 3's default head of 128 channels does not fit 4.
std::map<std::string, Names> legal_in(const std::string& family) {
  std::map<std::string, Names> legal = kLegalInLlama;
  if (family == "llama") return legal;
  legal["sliding_window"] = {"removed", "null"};
  legal["num_key_value_heads"] = {"null"};
  if (family == "qwen3") legal["head_dim"] = {"null"};
  return legal;
}

class HostileFamily : public HostileLoop, public ::testing::WithParamInterface<const char*> {
 protected:
  void mutate(const std::string& key, const Mutation& mutation) const {
    edit_json(model + "/config.json", [&](Json& json) {
      json.erase(key);
      if (mutation.value != nullptr) json[key] = parse_json(mutation.value, "value");
    });
  }
};

TEST_P(HostileFamily, EveryKeyOfTheConfigMayTakeEveryValueAndOnlySoundModelsPass) {
  const std::map<std::string, Names> legal = legal_in(GetParam());
  save(tiny(GetParam()));
  const std::string good = read(model + "/config.json");
  const Json config = json_of(model + "/config.json");
  for (const auto& [key, value] : config.items()) {
    for (const Mutation& mutation : kMutations) {
      SCOPED_TRACE(key + " is " + mutation.name);
      mutate(key, mutation);
      const Outcome run = prune();
      if (legal.contains(key) && legal.at(key).contains(mutation.name)) {
        expect_model(run, out);
        fs::remove_all(out);
      } else {
        expect_failed(run, {3, 4});
        EXPECT_THAT(run.err, ::testing::AnyOf(HasSubstr(key), HasSubstr("tensor '"),
                                              HasSubstr("key/value heads")));
      }
      put(model + "/config.json", good);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, HostileFamily,
                         ::testing::Values("llama", "mistral", "qwen2", "qwen3"),
                         [](const auto& family) { return std::string(family.param); });

TEST_F(HostileLoop, WeightsCutAtFiftyOffsetsAreRefused) {
  const std::string path = model + "/model.safetensors";
  const std::string good = read(path);
  std::mt19937 random(50);
  for (int i = 0; i < 50; ++i) {
    // Half of the cuts fall into the header, which is a small part of the file.
    const size_t offset = random() % (i % 2 == 0 ? size_t{2000} : good.size());
    SCOPED_TRACE(offset);
    put(path, good.substr(0, offset));
    expect_failed(prune(), 3, path);
  }
}

TEST_F(HostileLoop, ConfigsCutAtTwentyOffsetsAreRefused) {
  const std::string path = model + "/config.json";
  const std::string good = read(path);
  std::mt19937 random(20);
  for (int i = 0; i < 20; ++i) {
    const size_t offset = random() % good.size();
    SCOPED_TRACE(offset);
    put(path, good.substr(0, offset));
    expect_failed(prune(), 3, path);
  }
}

// Flipped bytes may still be a sound header; then the run must succeed or fail by the rules.
TEST_F(HostileLoop, HeadersWithAFlippedByteNeverCrash) {
  const std::string path = model + "/model.safetensors";
  const std::string good = read(path);
  std::mt19937 random(30);
  for (int i = 0; i < 30; ++i) {
    std::string bad = good;
    const size_t offset = random() % 2000;
    bad[offset] = static_cast<char>(bad[offset] ^ (1 << random() % 8));
    SCOPED_TRACE(offset);
    put(path, bad);
    const Outcome run = prune();
    if (run.exit_code != 0) expect_failed(run, {3, 4});
    fs::remove_all(out);
  }
}

}  // namespace
}  // namespace prunus::test_cli::hostile_slow_test
