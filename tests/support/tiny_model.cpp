#include "support/tiny_model.h"

#include <filesystem>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/calib/stream.h"
#include "prunus/io/checkpoint_writer.h"
#include "prunus/model/layout.h"
#include "prunus/model/lm_head.h"

namespace prunus::test {
namespace {

at::Tensor random_tensor(const TensorInfo& info, at::Generator& generator) {
  const at::Tensor noise = at::randn(info.shape, generator, at::kFloat);
  const bool norm = info.name.find("norm") != std::string::npos;
  return norm ? 1.0 + 0.2 * noise : 0.3 * noise;
}

// How byte-level tokenizers spell a byte: as itself where it is printed, else from U+0100 on.
std::string byte_letter(int byte) {
  const auto printed = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  };
  int code = byte;
  if (!printed(byte)) {
    code = 256;
    for (int b = 0; b < byte; ++b) code += !printed(b);
  }
  if (code < 128) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
}

// Every byte is a token, BOS stands in front; no merges. Every stock class reads it so.
Json byte_tokenizer(int64_t vocab_size) {
  Json vocab = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
  for (int byte = 0; byte < 256 && byte + 3 < vocab_size; ++byte) {
    vocab[byte_letter(byte)] = byte + 3;
  }
  const Json bytes = {{"type", "ByteLevel"},
                      {"add_prefix_space", false},
                      {"trim_offsets", true},
                      {"use_regex", false}};
  const Json bos = {{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}};
  const Json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  return {{"version", "1.0"},
          {"added_tokens", Json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", bytes},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single", Json::array({bos, text})},
            {"pair", Json::array({bos, text})},
            {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {1}}, {"tokens", {"<s>"}}}}}}}},
          {"decoder", bytes},
          {"model",
           {{"type", "BPE"},
            {"unk_token", "<unk>"},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"vocab", vocab},
            {"merges", Json::array()}}}};
}

}  // namespace

Json tiny_config(const TinySizes& sizes) {
  const Family* family = find_family(sizes.family);
  return {{"architectures", {family->architecture}},
          {"model_type", sizes.family},
          {"vocab_size", sizes.vocab},
          {"hidden_size", sizes.hidden},
          {"intermediate_size", sizes.ffn},
          {"num_hidden_layers", sizes.layers},
          {"num_attention_heads", sizes.q_heads},
          {"num_key_value_heads", sizes.kv_heads},
          {"head_dim", sizes.head_dim},
          {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"sliding_window", nullptr},
          {"tie_word_embeddings", sizes.tied}};
}

Model tiny_model(const TinySizes& sizes, uint64_t seed) {
  ModelConfig config = parse_config(tiny_config(sizes), "tiny");
  auto source = std::make_shared<MemorySource>();
  at::Generator generator = at::detail::createCPUGenerator(seed);
  for (const TensorInfo& info : tensors_of(config)) {
    source->tensors[info.name] = random_tensor(info, generator);
  }
  return Model(std::move(config), source);
}

std::shared_ptr<MemorySource> copy_weights(const Model& model) {
  auto copy = std::make_shared<MemorySource>();
  for (const TensorInfo& info : model.tensors()) {
    copy->tensors[info.name] = model.source().read(info).to(at::kFloat).clone();
  }
  return copy;
}

void save_model(const Model& model, const Json& config, const std::string& dir) {
  std::filesystem::create_directories(dir);
  std::vector<TensorPlan> plans;
  std::map<std::string, at::Tensor> values;
  for (const FileTensor& tensor : file_tensors(model.tensors())) {
    plans.push_back({tensor.name, model.source().dtype(*tensor.parts[0]), tensor.shape});
    values[tensor.name] = file_value(tensor, model.source()).to(at::kFloat);
  }
  CheckpointWriter writer(dir, std::move(plans));
  for (const TensorPlan& plan : writer.order()) writer.write(plan.name, values.at(plan.name));
  writer.finish();
  write_file(dir + "/config.json", config.dump(2));
  write_file(dir + "/tokenizer.json", byte_tokenizer(model.config().vocab_size).dump());
  write_file(
      dir + "/tokenizer_config.json",
      R"({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"})");
}

at::Tensor logits_of(const Model& model, const at::Tensor& ids) {
  const at::NoGradGuard no_grad;
  const BlockStream stream(model, at::kCPU);
  std::vector<at::Tensor> hidden = stream.embed({{ids}});
  stream.forward(hidden);
  return LmHead(model, at::kCPU)
      .logits(hidden[0].flatten(0, 1))
      .view({ids.size(0), ids.size(1), -1});
}

at::Tensor random_ids(const Model& model, int64_t batch, int64_t seq, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::randint(0, model.config().vocab_size, {batch, seq}, generator, at::kLong);
}

double relative_error(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).abs().max() / b.abs().max()).item<double>();
}

}  // namespace prunus::test
