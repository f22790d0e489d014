#include "prunus/export/gguf_file.h"

#include <filesystem>
#include <fstream>

#include <ATen/ATen.h>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/export/choose.h"
#include "prunus/graph/shrink.h"
#include "prunus/io/gguf.h"
#include "prunus/job/output.h"
#include "prunus/model/gguf_source.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::gguf_file_test {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// The first choice that llama.cpp would compute, of either kind; null architecture: none.
GgufChoice legal_choice(const ModelConfig& config) {
  for (const bool by_layer : {false, true}) {
    for (GgufChoice& choice : gguf_choices(config, by_layer)) {
      if (choice.legal()) return choice;
    }
  }
  return {};
}

GgufReport write(const Model& model, const std::string& source, const std::string& out,
                 const std::string& quant = "") {
  const GgufChoice choice = legal_choice(model.config());
  EXPECT_TRUE(choice.legal() && choice.architecture != nullptr);
  return write_gguf(model, choice, {.source = source, .out = out, .quant = quant});
}

// A llama with rows of whole blocks, as a directory in `dir`.
Model saved(const TinySizes& sizes, const std::string& dir) {
  save_model(tiny_model(sizes), tiny_config(sizes), dir);
  // Its byte tokenizer is none that llama.cpp has.
  std::filesystem::remove(dir + "/tokenizer.json");
  return open_model(dir);
}

const TinySizes kWide{.hidden = 256, .head_dim = 32, .q_heads = 8, .kv_heads = 4, .ffn = 512};

std::vector<int64_t> range(int64_t begin, int64_t end) {
  std::vector<int64_t> numbers;
  for (int64_t i = begin; i < end; ++i) numbers.push_back(i);
  return numbers;
}

// Every family that llama.cpp has: what is read back is the model, and a second time around through
// a directory gives the same bytes.
TEST(GgufExport, EveryFamilySurvivesTheWayThereAndBack) {
  int compared = 0;
  for (const std::string& name : golden_names()) {
    SCOPED_TRACE(name);
    const Model model = open_model(golden_dir(name));
    if (legal_choice(model.config()).architecture == nullptr) continue;
    const TempDir dir;
    std::filesystem::copy(golden_dir(name), dir / "source");
    for (const char* file : {"tokenizer.json", "tokenizer.model", "vocab.json"}) {
      std::filesystem::remove(dir / ("source/" + std::string(file)));
    }
    write(model, dir / "source", dir / "1.gguf", "f32");
    const Model read = open_gguf_model(dir / "1.gguf");
    const at::Tensor ids = random_ids(model, 2, 7);
    EXPECT_LT(relative_error(logits_of(read, ids), logits_of(model, ids)), 2e-6);
    write(read, dir / "1.gguf", dir / "2.gguf");
    EXPECT_EQ(read_file(dir / "1.gguf"), read_file(dir / "2.gguf"));
    ++compared;
  }
  EXPECT_GE(compared, 20);
}

TEST(GgufExport, KeepsDtypesAndWritesVectorsInFullPrecision) {
  const TempDir dir;
  const Model model = saved(kWide, dir / "m");
  write(model, dir / "m", dir / "x.gguf", "bf16");
  const auto file = GgufFile::open(dir / "x.gguf");
  EXPECT_EQ(file->find("blk.0.attn_norm.weight")->type->name, "F32");
  EXPECT_EQ(file->find("blk.0.ffn_up.weight")->type->name, "BF16");
  EXPECT_EQ(file->value("general.file_type").integer(), 32);
  EXPECT_EQ(file->value("general.architecture").text(), "llama");
  EXPECT_EQ(file->keys()[0], "general.architecture");
  EXPECT_EQ(file->value("tokenizer.ggml.model").text(), "none");
}

TEST(GgufExport, TheHeadGetsMoreBits) {
  const TempDir dir;
  const Model model = saved(kWide, dir / "m");
  const GgufReport report = write(model, dir / "m", dir / "x.gguf", "q4_k");
  const auto file = GgufFile::open(dir / "x.gguf");
  EXPECT_EQ(file->find("output.weight")->type->name, "Q6_K");
  EXPECT_EQ(file->find("token_embd.weight")->type->name, "Q4_K");
  EXPECT_EQ(file->value("general.file_type").integer(), 14);
  EXPECT_THAT(report.fallbacks, IsEmpty());
  // What four bits make of normal numbers: a relative error of some 7 %.
  const Model read = open_gguf_model(dir / "x.gguf");
  const TensorInfo& up = model.tensor(Role::UpProj, 0);
  const at::Tensor value = model.source().read(up);
  const double error = ((read.source().read(up) - value).norm() / value.norm()).item<double>();
  EXPECT_LT(error, 0.08);
  EXPECT_GT(error, 0.04);
}

TEST(GgufExport, RowsThatDoNotFitAreReported) {
  const TempDir dir;
  TinySizes sizes = kWide;
  sizes.ffn = 96;
  const Model model = saved(sizes, dir / "m");
  const GgufReport report = write(model, dir / "m", dir / "x.gguf", "q4_k");
  ASSERT_EQ(report.fallbacks.size(), 2);
  EXPECT_EQ(report.fallbacks[0].tensor, "blk.0.ffn_down.weight");
  EXPECT_EQ(report.fallbacks[0].wanted, "Q4_K");
  EXPECT_EQ(report.fallbacks[0].got, "Q5_1");
  EXPECT_THAT(remarks(report), Contains(HasSubstr("no whole blocks")));
  EXPECT_EQ(to_json(report)["fallbacks"].size(), 2);
}

// Rows of gate and up are rows of the file, and so are those of query heads, in pairs; columns of
// down that are left are not whole blocks.
TEST(GgufExport, RowsThatACutLeavesAreCopied) {
  const TempDir dir;
  const Model model = saved(kWide, dir / "m");
  write(model, dir / "m", dir / "q.gguf", "q8_0");
  const Model quantised = open_gguf_model(dir / "q.gguf");
  std::vector<int64_t> odd;
  for (int64_t i = 0; i < 512; i += 2) odd.push_back(i);
  const Model cut = shrink(quantised, {{AxisLabel::Ffn, 0, odd},
                                       {AxisLabel::Ffn, 1, odd},
                                       {AxisLabel::KvGroup, 0, {0, 2, 3}},
                                       {AxisLabel::KvGroup, 1, {1, 2, 3}}});
  const GgufReport report = write(cut, dir / "q.gguf", dir / "small.gguf");
  EXPECT_THAT(report.requantised,
              testing::UnorderedElementsAre("blk.0.ffn_down.weight", "blk.1.ffn_down.weight"));
  const auto before = GgufFile::open(dir / "q.gguf");
  const auto after = GgufFile::open(dir / "small.gguf");
  const auto row = [](const GgufFile& file, const std::string& name, size_t index) {
    const GgufTensor& tensor = *file.find(name);
    const size_t bytes = file.bytes(tensor).size() / static_cast<size_t>(tensor.rows());
    const auto part = file.bytes(tensor).subspan(index * bytes, bytes);
    return std::vector<std::byte>(part.begin(), part.end());
  };
  EXPECT_EQ(row(*after, "blk.0.ffn_up.weight", 5), row(*before, "blk.0.ffn_up.weight", 10));
  // Heads 2 and 3 of the first layer are gone with KV group 1: row 64 was the first of head 4.
  EXPECT_EQ(row(*after, "blk.0.attn_q.weight", 65), row(*before, "blk.0.attn_q.weight", 129));
  // attn_output loses whole blocks of 32 columns: one head each.
  EXPECT_THAT(report.copied, Contains("blk.0.attn_output.weight"));
  // The values are those of the cut model but where they were quantised again.
  const Model read = open_gguf_model(dir / "small.gguf");
  const at::Tensor ids = random_ids(model, 2, 7);
  EXPECT_LT(relative_error(logits_of(read, ids), logits_of(cut, ids)), 0.02);
  for (const TensorInfo& tensor : read.tensors()) {
    if (tensor.spec->role == Role::DownProj) continue;
    EXPECT_TRUE(at::equal(read.source().read(tensor), cut.source().read(tensor))) << tensor.name;
  }
}

TEST(GgufExport, NothingIsQuantisedAgainWhereBlocksStayWhole) {
  const TempDir dir;
  const Model model = saved(kWide, dir / "m");
  write(model, dir / "m", dir / "q.gguf", "q4_k");
  const Model quantised = open_gguf_model(dir / "q.gguf");
  const Model cut = shrink(quantised, {{AxisLabel::Ffn, 0, range(256, 512)},
                                       {AxisLabel::Ffn, 1, range(0, 256)},
                                       {AxisLabel::Layer, -1, {1}}});
  const GgufReport report = write(cut, dir / "q.gguf", dir / "small.gguf");
  EXPECT_THAT(report.requantised, IsEmpty());
  EXPECT_THAT(report.copied, Contains("blk.0.ffn_down.weight"));
  const at::Tensor ids = random_ids(model, 2, 7);
  EXPECT_LT(
      relative_error(logits_of(open_gguf_model(dir / "small.gguf"), ids), logits_of(cut, ids)),
      1e-6);
}

TEST(GgufExport, ExpertsThatAreLeftAreCopied) {
  const TempDir dir;
  const Model model = open_model(golden_dir("mixtral"));
  std::filesystem::copy(golden_dir("mixtral"), dir / "source");
  const auto columns = model.tensor(Role::DownProj, 0).shape;
  write(model, dir / "source", dir / "q.gguf", "q8_0");
  const Model quantised = open_gguf_model(dir / "q.gguf");
  std::vector<Keep> keeps;
  for (int layer = 0; layer < model.layer_count(); ++layer) {
    keeps.push_back({AxisLabel::Expert, layer, {0, 2}});
  }
  const Model cut = shrink(quantised, keeps);
  write(cut, dir / "q.gguf", dir / "small.gguf");
  const Model read = open_gguf_model(dir / "small.gguf");
  for (const TensorInfo& tensor : read.tensors()) {
    EXPECT_TRUE(at::equal(read.source().read(tensor), cut.source().read(tensor))) << tensor.name;
  }
}

TEST(GgufExport, LayersOfDifferentSizesBecomeDeci) {
  const TempDir dir;
  const Model model = saved(kWide, dir / "m");
  const Model cut =
      shrink(model, {{AxisLabel::Ffn, 0, range(0, 96)}, {AxisLabel::KvGroup, 1, {0, 1, 3}}});
  const OutputForm& form = choose_form("gguf", "", cut.config());
  EXPECT_EQ(form.name, "deci");
  Json record;
  form.write(cut, {.source = dir / "m", .out = dir / "x.gguf", .quant = "f32", .record = &record});
  EXPECT_EQ(record["architecture"], "deci");
  const auto file = GgufFile::open(dir / "x.gguf");
  EXPECT_EQ(file->value("deci.feed_forward_length").integers(), (std::vector<int64_t>{96, 512}));
  EXPECT_EQ(file->value("deci.attention.head_count").integers(), (std::vector<int64_t>{8, 6}));
  EXPECT_EQ(file->value("deci.attention.head_count_kv").integers(), (std::vector<int64_t>{4, 3}));
  const at::Tensor ids = random_ids(model, 2, 7);
  EXPECT_LT(relative_error(logits_of(open_gguf_model(dir / "x.gguf"), ids), logits_of(cut, ids)),
            2e-6);
}

// llama.cpp's deci takes 0 heads in any layer but the first, and no layer without feed-forward
// channels: those get 32 of zeros, the first layer a head of zeros.
TEST(GgufExport, DroppedSubLayersBecomeDeci) {
  const TempDir dir;
  const Model model =
      saved({.hidden = 256, .head_dim = 32, .q_heads = 8, .kv_heads = 4, .ffn = 512, .layers = 4},
            dir / "m");
  const Model cut = shrink(model, {without_sub_layer(model, SubLayer::Attention, {0, 2}),
                                   without_sub_layer(model, SubLayer::FeedForward, {1, 2})});
  const OutputForm& form = choose_form("gguf", "", cut.config());
  ASSERT_EQ(form.name, "deci");
  EXPECT_THAT(form.answers(cut.config())[0].text,
              HasSubstr("zeros for the attention of one head of 1 layers, zeros for the "
                        "feed-forward part of 2 layers)"));
  form.write(cut, {.source = dir / "m", .out = dir / "x.gguf", .quant = "f32"});
  const auto file = GgufFile::open(dir / "x.gguf");
  const auto sizes = [&](const char* key) { return file->value(key).integers(); };
  EXPECT_EQ(sizes("deci.feed_forward_length"), (std::vector<int64_t>{512, 32, 32, 512}));
  EXPECT_EQ(sizes("deci.attention.head_count"), (std::vector<int64_t>{1, 8, 0, 8}));
  EXPECT_EQ(sizes("deci.attention.head_count_kv"), (std::vector<int64_t>{1, 4, 0, 4}));
  EXPECT_EQ(file->find("blk.2.attn_norm.weight"), nullptr);
  EXPECT_EQ(file->find("blk.2.attn_q.weight"), nullptr);
  const Model read = open_gguf_model(dir / "x.gguf");
  EXPECT_FALSE(read.config().layers[2].has(SubLayer::Attention));
  const at::Tensor ids = random_ids(model, 2, 7);
  EXPECT_LT(relative_error(logits_of(read, ids), logits_of(cut, ids)), 2e-6);
  // A second time around nothing is added, and every tensor is the same.
  write(read, dir / "x.gguf", dir / "y.gguf");
  EXPECT_EQ(read_file(dir / "x.gguf"), read_file(dir / "y.gguf"));
}

// What is not padded is copied block for block, as it would be without dropped sub-layers.
TEST(GgufExport, DroppedSubLayersLeaveQuantisedBlocksAsTheyAre) {
  const TempDir dir;
  const Model model = saved(kWide, dir / "m");
  write(model, dir / "m", dir / "q.gguf", "q8_0");
  const Model quantised = open_gguf_model(dir / "q.gguf");
  const Model cut = shrink(quantised, {without_sub_layer(quantised, SubLayer::FeedForward, {1})});
  Json record;
  choose_form("gguf", "", cut.config())
      .write(cut, {.source = dir / "q.gguf", .out = dir / "x.gguf", .record = &record});
  EXPECT_THAT(record.at("requantised").get<std::vector<std::string>>(), IsEmpty());
  EXPECT_THAT(record.at("blocks_copied").get<std::vector<std::string>>(),
              Contains("blk.1.attn_q.weight"));
  EXPECT_EQ(GgufFile::open(dir / "x.gguf")->find("blk.0.ffn_up.weight")->type->name, "Q8_0");
}

TEST(GgufExport, AQwen2WithoutSomeHeadsIsALlamaWithBiases) {
  const TempDir dir;
  const Model model = open_model(golden_dir("qwen2"));
  std::vector<Keep> keeps;
  for (int layer = 0; layer < model.layer_count(); ++layer) {
    keeps.push_back({AxisLabel::KvGroup, layer, {0}});
  }
  const Model cut = shrink(model, keeps);
  const GgufChoice choice = legal_choice(cut.config());
  ASSERT_NE(choice.architecture, nullptr);
  EXPECT_TRUE(choice.renamed);
  EXPECT_EQ(choice.architecture->name, "llama");
  std::filesystem::create_directory(dir / "empty");
  write_gguf(cut, choice, {.source = dir / "empty", .out = dir / "x.gguf", .quant = "f32"});
  const Model read = open_gguf_model(dir / "x.gguf");
  EXPECT_EQ(read.config().family->model_type, "llama");
  const at::Tensor ids = random_ids(model, 2, 7);
  EXPECT_LT(relative_error(logits_of(read, ids), logits_of(cut, ids)), 2e-6);
}

TEST(GgufExport, SaysWhyAModelCannotBeGguf) {
  const Model opt = open_model(golden_dir("opt"));
  expect_error(ErrorKind::Unsupported, "no such architecture",
               [&] { choose_form("gguf", "stock", opt.config()); });
  const Model gemma = open_model(golden_dir("gemma"));
  const int64_t ffn = gemma.config().layers[0].intermediate_size;
  const Model uneven = shrink(gemma, {{AxisLabel::Ffn, 0, range(0, ffn / 2)}});
  expect_error(ErrorKind::Unsupported, "layers of different sizes",
               [&] { choose_form("gguf", "", uneven.config()); });
}

TEST(GgufExport, AnUnknownQuantHasTheList) {
  const TempDir dir;
  const Model model = saved(kWide, dir / "m");
  expect_error(ErrorKind::InvalidArgument, "'q4_j' is not known",
               [&] { write(model, dir / "m", dir / "x.gguf", "q4_j"); });
  EXPECT_FALSE(std::filesystem::exists(dir / "x.gguf"));
}

}  // namespace
}  // namespace prunus::test::gguf_file_test
