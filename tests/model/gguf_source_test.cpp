// Tiny GGUF files written by the `gguf` package as llama.cpp's converter would, with logits of
// stock transformers (tools/make_gguf_model_goldens.py).
#include "prunus/model/gguf_source.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include <ATen/ATen.h>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "prunus/io/safetensors.h"
#include "prunus/model/gguf_config.h"
#include "prunus/model/resident_model.h"

#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::gguf_source_test {
namespace {

const std::string kGoldens = source_path("tests/model/golden_gguf/");

std::vector<std::string> cases() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kGoldens)) {
    if (entry.path().extension() == ".gguf") names.push_back(entry.path().stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Model golden(const std::string& name) { return open_model(kGoldens + name + ".gguf"); }

at::Tensor golden_tensor(const std::string& name, const char* tensor) {
  const auto file = SafetensorsFile::open(kGoldens + name + ".safetensors");
  return file->view(*file->find(tensor)).clone();
}

class GgufGolden : public testing::TestWithParam<std::string> {};

TEST_P(GgufGolden, LogitsEqualTransformers) {
  const Model model = golden(GetParam());
  const at::Tensor ids = golden_tensor(GetParam(), "input_ids");
  EXPECT_LT(relative_error(logits_of(model, ids), golden_tensor(GetParam(), "logits")), 1e-5);
}

TEST_P(GgufGolden, GivesTheRowsThatAreAskedFor) {
  const Model model = golden(GetParam());
  for (const TensorInfo& tensor : model.tensors()) {
    if (tensor.spec->rank != 2) continue;
    const at::Tensor all = model.source().read(tensor);
    EXPECT_EQ(all.sizes(), c10::IntArrayRef(tensor.shape)) << tensor.name;
    EXPECT_EQ(all.scalar_type(), model.source().dtype(tensor)) << tensor.name;
    const int64_t rows = all.size(0);
    for (const auto& [begin, count] : {std::pair<int64_t, int64_t>{0, rows},
                                       {rows / 3, rows - rows / 3 - rows / 4},
                                       {rows - 1, 1}}) {
      EXPECT_TRUE(
          at::equal(model.source().read_rows(tensor, begin, count), all.narrow(0, begin, count)))
          << tensor.name << " from " << begin;
    }
    const at::Tensor some = at::tensor({rows - 1, int64_t{0}, rows / 2, int64_t{0}}, at::kLong);
    EXPECT_TRUE(at::equal(model.source().select_rows(tensor, some), at::index_select(all, 0, some)))
        << tensor.name;
  }
}

// What is read says all that is needed to write the same metadata again.
TEST_P(GgufGolden, IsDescribedByTheSettingsThatAWriterWouldWrite) {
  const auto file = GgufFile::open(kGoldens + GetParam() + ".gguf");
  const GgufArchitecture& architecture = gguf_architecture(*file);
  const ModelConfig config = parse_config(gguf_config(*file), "config");
  std::map<std::string, GgufSetting> settings;
  for (const GgufSetting& one : gguf_settings(config, architecture)) settings[one.key] = one;
  for (const auto& [key, value] : file->metadata()) {
    if (!key.starts_with(std::string(architecture.name) + ".") ||
        key.ends_with("sliding_window_pattern")) {
      continue;
    }
    ASSERT_TRUE(settings.contains(key) || key.ends_with("original_context_length")) << key;
    if (!settings.contains(key)) continue;
    const auto& written = settings.at(key).value;
    if (const auto* number = std::get_if<int64_t>(&written)) {
      const bool inert =
          key == "qwen2moe.feed_forward_length" || key == "qwen3moe.feed_forward_length";
      EXPECT_TRUE(inert || *number == value.integer()) << key;
    } else if (const auto* real = std::get_if<double>(&written)) {
      EXPECT_EQ(static_cast<float>(*real), static_cast<float>(value.number())) << key;
    } else if (const auto* list = std::get_if<std::vector<int64_t>>(&written)) {
      EXPECT_EQ(*list, value.integers()) << key;
    } else if (const auto* truth = std::get_if<bool>(&written)) {
      EXPECT_EQ(*truth, value.boolean()) << key;
    } else if (const auto* words = std::get_if<std::string>(&written)) {
      EXPECT_EQ(*words, value.text()) << key;
    }
  }
  for (const GgufRopeTensor& tensor : gguf_rope_tensors(config, architecture)) {
    ASSERT_NE(file->find(tensor.name), nullptr) << tensor.name;
    EXPECT_LT(relative_error(tensor.value, file->read(*file->find(tensor.name))), 1e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, GgufGolden, testing::ValuesIn(cases()),
                         [](const auto& one) { return one.param; });

// Token by token too: products of several rows dequantise, those of few read blocks.
TEST(GgufSource, DecodesFromBlocksAsStored) {
  const Model model = golden("llama_quantised");
  const Residence where = residence(model, ResidentDtype::Auto, KvDtype::Auto, at::kCPU);
  ASSERT_TRUE(where.packed);
  const ResidentModel resident(model, at::kCPU, where);
  EXPECT_LT(resident.step_bytes(), ResidentModel(model, at::kCPU).step_bytes() / 2);
  EXPECT_THAT(resident.dtype_text(), testing::StartsWith("as stored: "));
  const at::Tensor ids = golden_tensor("llama_quantised", "input_ids");
  const at::Tensor wanted = golden_tensor("llama_quantised", "logits");
  const int64_t length = ids.size(1);
  std::vector<LayerCache> at_once = resident.empty_cache(), stepped = resident.empty_cache();
  EXPECT_LT(relative_error(resident.next_logits(ids, 0, at_once), wanted.select(1, length - 1)),
            1e-5);
  for (int64_t place = 0; place < length; ++place) {
    const at::Tensor logits = resident.next_logits(ids.narrow(1, place, 1), place, stepped);
    EXPECT_LT(relative_error(logits, wanted.select(1, place)), 1e-5) << place;
  }
}

TEST(GgufSource, IsDequantisedWhereAnotherDtypeIsAskedFor) {
  const Model model = golden("llama_quantised");
  const auto of = [&](ResidentDtype asked) {
    return residence(model, asked, KvDtype::Auto, at::kCPU);
  };
  EXPECT_FALSE(of(ResidentDtype::Float32).packed);
  EXPECT_FALSE(of(ResidentDtype::BFloat16).packed);
  EXPECT_TRUE(of(ResidentDtype::File).packed);
  EXPECT_EQ(of(ResidentDtype::Auto).kv, at::kFloat);
  EXPECT_TRUE(  // in F16
      residence(golden("llama_bias"), ResidentDtype::Auto, KvDtype::Auto, at::kCPU).packed);
}

TEST(GgufSource, GivesBlocksWhoseValuesAreTheWeight) {
  std::set<std::string> types;
  for (const char* name : {"llama_quantised", "llama_bias", "phi3"}) {
    const Model model = golden(name);
    for (const TensorInfo& tensor : model.tensors()) {
      const auto packed = model.source().read_packed(tensor);
      if (!packed) continue;
      types.insert(std::string(packed->blocks->name));
      EXPECT_TRUE(at::equal(packed->unpacked(), model.source().read(tensor).to(at::kFloat)))
          << tensor.name;
    }
  }
  EXPECT_THAT(types, testing::IsSupersetOf({"Q8_0"}));
}

TEST(GgufSource, KeepsHalfPrecisionAndDequantisesTheRest) {
  const Model model = golden("llama_quantised");
  std::set<std::pair<std::string, at::ScalarType>> types;
  const auto& source = dynamic_cast<const GgufSource&>(model.source());
  for (const TensorInfo& tensor : model.tensors()) {
    types.emplace(source.place(tensor).tensor->type->name, source.dtype(tensor));
  }
  EXPECT_THAT(types, testing::IsSupersetOf(std::vector<std::pair<std::string, at::ScalarType>>{
                         {"Q8_0", at::kFloat}, {"Q4_1", at::kFloat}, {"F32", at::kFloat}}));
  const Model half = golden("qwen2");
  std::set<at::ScalarType> read;
  for (const TensorInfo& tensor : half.tensors()) read.insert(half.source().dtype(tensor));
  EXPECT_EQ(read, (std::set{at::kFloat, at::kHalf, at::kBFloat16}));
}

TEST(GgufSource, TakesTheRowsOfEachPartOfAFusedTensor) {
  const Model model = golden("phi3");
  const auto& source = dynamic_cast<const GgufSource&>(model.source());
  const GgufPlace& k = source.place(model.tensor(Role::KProj, 1));
  EXPECT_EQ(k.tensor->name, "blk.1.attn_qkv.weight");
  EXPECT_EQ(k.begin, 32);
  EXPECT_EQ(k.rows, 16);
}

}  // namespace
}  // namespace prunus::test::gguf_source_test
