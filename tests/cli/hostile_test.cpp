// Hostile files: every one gives a clear error, an exit code and nothing else.
#include "cli/hostile.h"

#include <cmath>
#include <limits>

namespace prunus::test_cli::hostile_test {
namespace {

constexpr const char* kEmbedding = "model.embed_tokens.weight";

class HostileConfig : public HostileTest {};
class HostileWeights : public HostileTest {};
class HostileText : public CliTest {
 protected:
  Outcome calibrate(const std::string& text) const {
    return run({"prune", model, "--out", out, "--calib", text});
  }
};

// Valid configurations of mathematics that Prunus does not implement, and contradictions.
const ConfigPatch kPatches[] = {
    {R"({"is_causal": false})", 4, "field 'is_causal' = false"},
    {R"({"rope_scaling": {"rope_type": "spiral", "factor": 4.0}})", 4, "rope_scaling"},
    {R"({"rope_parameters": {"rope_type": "linear", "factor": 2.0},
         "rope_scaling": {"rope_type": "linear", "factor": 3.0}})",
     3, "disagree"},
    {R"({"quantization_config": {"quant_method": "gptq", "bits": 4}})", 4,
     "weights are quantised (gptq)"},
    {R"({"text_config": {"hidden_size": 8}})", 4, "text_config"},
    {R"({"hidden_act": "xielu"})", 4, "hidden_act 'xielu'"},
    {R"({"model_type": "gpt_bigcode"})", 4, "model_type 'gpt_bigcode'"},
    {R"({"architectures": ["LlamaForSequenceClassification"]})", 4, "architectures"},
    {R"({"attention_bias": true})", 3, "no tensor 'model.layers.0.self_attn.q_proj.bias'"},
    {R"({"layer_intermediate_size": [12]})", 3, "layer_intermediate_size"},
    {R"({"num_hidden_layers": 3})", 3, "model.layers.2"},
    {R"({"num_hidden_layers": 1})", 4, "model.layers.1"},
    {R"({"vocab_size": 260})", 3, kEmbedding},
};

TEST_F(HostileConfig, UnknownMathematicsAndContradictionsAreRefusedByName) {
  for (const ConfigPatch& patch : kPatches) expect_refused(patch);
}

TEST_F(HostileConfig, AFieldThatIsPassedOverCannotRedrawTheTerminal) {
  edit_json(model + "/config.json", [](Json& json) { json["two\nlines\033[2J"] = 30; });
  const Outcome done = prunus({"inspect", model, "--threads", "1"});
  EXPECT_EQ(done.exit_code, 0);
  EXPECT_THAT(done.err, HasSubstr("does not read it: two?lines?[2J"));
}

TEST_F(HostileConfig, AnUnknownLayerTypeIsRefused) {
  save(tiny("qwen2"));
  edit_json(model + "/config.json", [](Json& json) {
    json["layer_types"] = {"full_attention", "chunked_attention"};
  });
  expect_failed(prune(), 4, "chunked_attention");
}

TEST_F(HostileConfig, TextThatIsNoJsonObjectIsRefused) {
  const std::string good = read(model + "/config.json");
  for (const std::string& bytes :
       {std::string(), std::string("[]"), std::string("\xff\xfe{}"), std::string("{}\0{}", 5),
        good + good, good.substr(0, good.size() / 2), std::string(100'000, '['),
        std::string(R"({"model_type": "llama", "model_type": "mistral"})"),
        std::string("{\"two\\nlines\": 1, \"two\\nlines\": 2}")}) {
    SCOPED_TRACE(bytes.substr(0, 60));
    put(model + "/config.json", bytes);
    expect_failed(prune(), 3, "config.json");
  }
}

TEST_F(HostileConfig, AMissingFileIsNamed) {
  fs::remove(model + "/config.json");
  expect_failed(prune(), 3, "config.json");
  save(tiny());
  fs::remove(model + "/model.safetensors");
  expect_failed(prune(), 3, "model.safetensors");
  fs::remove_all(model);
  expect_failed(prune(), 3, "no such directory");
}

const EntryChange kChanges[] = {
    {"unknown dtype", [](Json& e) { e["dtype"] = "F99"; }, 3, "unknown dtype 'F99'"},
    {"dtype of integers", [](Json& e) { e["dtype"] = "I32"; }, 4, "I32"},
    {"dtype of another size", [](Json& e) { e["dtype"] = "BF16"; }, 3, "takes 384"},
    {"shape that overflows",
     [](Json& e) {
       e["shape"] = {1L << 32, 1L << 32};
     },
     3, "overflows"},
    {"another shape",
     [](Json& e) {
       e["shape"] = {12, 16};
     },
     3, "[12, 16]"},
    {"shape of size zero",
     [](Json& e) {
       e["shape"] = {0, 12};
     },
     3, "takes 0"},
    {"offsets reversed", [](Json& e) { std::swap(e["data_offsets"][0], e["data_offsets"][1]); }, 3,
     "ends before it"},
    {"offsets that overlap the neighbour",
     [](Json& e) {
       e["data_offsets"] = {0, 768};
     },
     3, "overlaps"},
    {"offsets beyond the file",
     [](Json& e) {
       e["data_offsets"] = {1 << 30, (1 << 30) + 768};
     },
     3, "the file has only"},
    {"offsets that overflow",
     [](Json& e) {
       e["data_offsets"] = {~uint64_t{0} - 768, ~uint64_t{0}};
     },
     3, kDown},
    {"an unknown field",
     [](Json& e) {
       e["stride"] = {12, 1};
     },
     3, "stride"},
};

TEST_F(HostileWeights, EachBrokenFieldOfATensorIsRefusedByName) {
  for (const EntryChange& change : kChanges) expect_refused(change);
}

TEST_F(HostileWeights, ABrokenHeaderLengthIsRefused) {
  const std::string good = read(weights_path);
  uint64_t length = 0;
  std::memcpy(&length, good.data(), sizeof length);
  for (const uint64_t claim :
       {uint64_t{0}, length - 1, length + 1, uint64_t{10'000'000'000}, ~uint64_t{0}}) {
    SCOPED_TRACE(claim);
    put(weights_path, little_endian(claim) + good.substr(8));
    expect_failed(prune(), 3, weights_path);
  }
}

TEST_F(HostileWeights, AHugeSparseFileThatClaimsTenGigabytesOfHeaderCostsNoMemory) {
  put(weights_path, little_endian(10'000'000'000) + "{");
  fs::resize_file(weights_path, 10'000'000'064);
  const Outcome run = prune();
  expect_failed(run, 3, "10000000000");
  EXPECT_LT(run.peak_bytes, int64_t{2} << 30);
}

TEST_F(HostileWeights, BytesThatBelongToNoTensorAreRefused) {
  put(weights_path, read(weights_path) + "x");
  expect_failed(prune(), 3, "trailing bytes");
}

TEST_F(HostileWeights, AMissingTensorIsNamed) {
  Weights weights = Weights::of(weights_path);
  drop_tensor(weights, kDown);
  put(weights_path, weights.bytes());
  expect_failed(prune(), 3, kDown);
}

TEST_F(HostileWeights, ATensorWithoutPlaceIsNamed) {
  Weights weights = Weights::of(weights_path);
  const uint64_t end = weights.data.size();
  weights.header["model.layers.0.self_attn.q_proj.bias"] = {
      {"dtype", "F32"}, {"shape", {16}}, {"data_offsets", {end, end + 64}}};
  weights.data += std::string(64, '\0');
  put(weights_path, weights.bytes());
  expect_failed(prune(), 4, "q_proj.bias");
}

TEST_F(HostileWeights, AZeroSizeTensorIsNamed) {
  Weights weights = Weights::of(weights_path);
  drop_tensor(weights, kDown);
  const uint64_t end = weights.data.size();
  weights.header[kDown] = {{"dtype", "F32"}, {"shape", {16, 0}}, {"data_offsets", {end, end}}};
  put(weights_path, weights.bytes());
  expect_failed(prune(), 3, kDown);
}

TEST_F(HostileWeights, MetadataThatIsNoTextIsRefused) {
  Weights weights = Weights::of(weights_path);
  weights.header["__metadata__"]["format"] = 7;
  put(weights_path, weights.bytes());
  expect_failed(prune(), 3, "__metadata__");
}

TEST_F(HostileWeights, AnEmptyWeightFileIsRefused) {
  put(weights_path, "");
  expect_failed(prune(), 3, "incomplete download?");
}

TEST_F(HostileWeights, NanAndInfinityAreRefusedByTensor) {
  const std::string good = read(weights_path);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const char* name :
       {kEmbedding, kDown, "model.norm.weight", "model.layers.0.input_layernorm.weight",
        "model.layers.1.self_attn.q_proj.weight", "lm_head.weight"}) {
    for (const float value : {nan, infinity, -infinity}) {
      if (name != kDown && std::isinf(value)) continue;
      SCOPED_TRACE(testing::Message() << name << " holds " << value);
      set_first_element(weights_path, name, value);
      expect_failed(prune(), 3, name);
      put(weights_path, good);
    }
  }
}

TEST_F(HostileText, AMissingTokenizerMattersOnlyWhereTextIsRead) {
  const std::string text = file("text.txt", some_text(40));
  for (const char* name : {"/tokenizer.json", "/tokenizer_config.json"}) fs::remove(model + name);
  expect_failed(calibrate(text), 3, "tokenizer");
  expect_failed(run({"eval", model, "--ppl", text}), 3, "tokenizer");
  expect_model(prune(), out);
}

TEST_F(HostileText, ABrokenTokenizerIsRefused) {
  const std::string text = file("text.txt", some_text(40));
  const std::string good = read(model + "/tokenizer.json");
  for (const std::string& bytes :
       {std::string("{}"), good.substr(0, good.size() / 2), std::string("\x80"),
        std::string(R"({"model": {"type": "BPE"}})")}) {
    SCOPED_TRACE(bytes.substr(0, 40));
    put(model + "/tokenizer.json", bytes);
    expect_failed(calibrate(text), {3, 4});
  }
}

TEST_F(HostileText, ATokenizerOfAnotherModelIsRefused) {
  const std::string text = file("text.txt", some_text(40));
  edit_json(model + "/tokenizer.json", [](Json& json) { json["model"]["vocab"]["e"] = 5000; });
  expect_failed(calibrate(text), {2, 3});
  expect_failed(run({"generate", model, "--prompt", "tree"}), {2, 3});
}

TEST_F(HostileText, CalibrationTextThatIsNoTextIsRefused) {
  std::string binary;
  for (int i = 0; i < 4096; ++i) binary += static_cast<char>(i * 7);
  expect_failed(calibrate(file("empty.txt", "")), 3, "holds no text");
  expect_failed(calibrate(file("empty.jsonl", "\n\n")), 3, "holds no text");
  expect_failed(calibrate(file("binary.txt", binary)), 3, "not valid UTF-8");
  expect_failed(calibrate(file("line.jsonl", "{\"text\": \"a\"}\n{\"body\": \"b\"}\n")), 3,
                "line 2");
  expect_failed(calibrate(file("cut.jsonl", "{\"text\": \"a\"}\n{\"te")), 3, "line 2");
  expect_failed(calibrate(dir / "absent.txt"), 3, "absent.txt");
  expect_failed(calibrate(file("short.txt", "plum")), 2, "--calib-samples");
}

TEST_F(HostileText, EvaluationTextThatIsNoTextIsRefused) {
  const auto eval = [&](const std::string& text) { return run({"eval", model, "--ppl", text}); };
  expect_failed(eval(file("empty.txt", "")), 3, "holds no text");
  expect_failed(eval(file("binary.txt", "plum\xff")), 3, "at byte 4");
  expect_failed(eval(file("line.jsonl", "{\"text\": 7}\n")), 3, "line 1");
  expect_failed(eval(file("short.txt", "plum")), 3, "5 tokens");
}

}  // namespace
}  // namespace prunus::test_cli::hostile_test
