#include "prunus/export/bitmask_file.h"

#include <cstring>
#include <filesystem>
#include <limits>

#include <ATen/ATen.h>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/export/export_job.h"
#include "prunus/io/hf_directory.h"
#include "prunus/job/output.h"
#include "prunus/model/resident_model.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::bitmask_file_test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

bool in_layer(const TensorInfo& tensor) { return tensor.layer >= 0 && tensor.shape.size() == 2; }

// A golden model, rounded to BF16, with `share` of zeros in the matrices of its layers.
std::string sparse_model(const std::string& golden, const std::string& dir, double share = 0.5) {
  at::manual_seed(11);
  const Model model = open_model(golden_dir(golden));
  const auto weights = copy_weights(model);
  for (const TensorInfo& tensor : model.tensors()) {
    at::Tensor& weight = weights->tensors.at(tensor.name);
    weight = weight.to(at::kBFloat16).to(at::kFloat);
    if (in_layer(tensor)) weight = weight * (at::rand(weight.sizes()) >= share);
  }
  const std::string dense = dir + "/dense";
  fs::create_directories(dense);
  write_model(Model(model.config(), weights), golden_dir(golden), dense);
  return dense;
}

Json to_bitmask(const std::string& model, const std::string& out, const std::string& values = "",
                const std::string& dtype = "bf16") {
  ExportJob job;
  job.model_dir = model;
  job.format = "bitmask";
  job.values = values;
  job.dtype = dtype;
  job.out_dir = out;
  return run_export(job);
}

class EveryGolden : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Bitmask, EveryGolden, testing::ValuesIn(golden_names()),
                         [](const auto& one) { return one.param; });

TEST_P(EveryGolden, HasTheSameBitsAsWithItsZeros) {
  const TempDir dir;
  const Model dense = open_model(sparse_model(GetParam(), dir.path()));
  const Json record = to_bitmask(dir / "dense", dir / "out");
  const Model model = open_model(dir / "out");
  for (const TensorInfo& tensor : dense.tensors()) {
    const at::Tensor wanted = dense.source().read(tensor).to(at::kBFloat16);
    EXPECT_EQ(model.source().dtype(tensor), at::kBFloat16);
    EXPECT_TRUE(at::equal(model.source().read(tensor), wanted)) << tensor.name;
  }
  const at::Tensor ids = random_ids(dense, 2, 6);
  EXPECT_TRUE(at::equal(logits_of(model, ids), logits_of(dense, ids)));
  const Json& report = record.at("bitmask");
  EXPECT_GT(report.at("matrices"), 0);
  EXPECT_EQ(report.at("exact"), true);
  EXPECT_EQ(record.at("output_check").at("max_abs_diff"), 0);
}

// A prompt of more rows than are multiplied as they are stored, more of it, and steps.
void expect_decoded_alike(const Model& model, const ResidentModel& plain,
                          const ResidentModel& packed, double tolerance = 1e-5) {
  const at::Tensor ids = random_ids(model, 2, 12);
  std::vector<LayerCache> one = plain.empty_cache(), two = packed.empty_cache();
  for (const auto& [begin, count] : {std::pair{0, 8}, {8, 2}, {10, 1}, {11, 1}}) {
    const at::Tensor wanted = plain.next_logits(ids.narrow(1, begin, count), begin, one);
    const at::Tensor got = packed.next_logits(ids.narrow(1, begin, count), begin, two);
    EXPECT_LT(relative_error(got, wanted), tolerance) << begin;
  }
}

// Experts, transposed and interleaved matrices and a normalised head are held with their zeros, and
// multiplied in BF16.
bool reads_all_as_stored(const Model& model) {
  if (model.config().family->normalised_head) return false;
  for (const TensorInfo& tensor : model.tensors()) {
    const bool expert =
        tensor.layer >= 0 && model.config().layers[static_cast<size_t>(tensor.layer)].experts > 0;
    if (tensor.shape.size() == 2 && (expert || !model.source().read_packed(tensor))) return false;
  }
  return true;
}

TEST_P(EveryGolden, DecodesFromTheMaskAsWithItsZeros) {
  const TempDir dir;
  sparse_model(GetParam(), dir.path());
  to_bitmask(dir / "dense", dir / "out");
  const Model model = open_model(dir / "out");
  const Residence where = residence(model, ResidentDtype::Auto, KvDtype::Auto, at::kCPU);
  const ResidentModel plain(model, at::kCPU, at::kFloat), packed(model, at::kCPU, where);
  const bool whole = reads_all_as_stored(model);
  EXPECT_TRUE(where.packed || !whole);
  expect_decoded_alike(model, plain, packed, whole ? 1e-5 : 0.02);
  EXPECT_LT(packed.step_bytes(), plain.step_bytes());
}

TEST(Bitmask, DecodesEightBitsWithoutRoundingThemAgain) {
  for (const char* golden : {"llama_gqa", "qwen2", "gemma3_text", "phi3"}) {
    const TempDir dir;
    sparse_model(golden, dir.path());
    to_bitmask(dir / "dense", dir / "out", "int8");
    const Model model = open_model(dir / "out");
    const Residence where = residence(model, ResidentDtype::Auto, KvDtype::Auto, at::kCPU);
    const ResidentModel plain(model, at::kCPU, at::kFloat), packed(model, at::kCPU, where);
    EXPECT_EQ(packed.dtype_text(), "as stored: BF16, bitmask INT8");
    expect_decoded_alike(model, plain, packed);
  }
}

TEST(Bitmask, RoundsToEightBitsAndReadsWhatItWrote) {
  const TempDir dir;
  const Model dense = open_model(sparse_model("phi3", dir.path()));
  const Json record = to_bitmask(dir / "dense", dir / "out", "int8");
  EXPECT_EQ(record.at("bitmask").at("exact"), false);
  const Model model = open_model(dir / "out");
  for (const TensorInfo& tensor : dense.tensors()) {
    const at::Tensor wanted = dense.source().read(tensor).to(at::kBFloat16).to(at::kFloat);
    const at::Tensor got = model.source().read(tensor);
    if (!in_layer(tensor)) {
      EXPECT_TRUE(at::equal(got.to(at::kFloat), wanted)) << tensor.name;
      continue;
    }
    EXPECT_EQ(got.scalar_type(), at::kFloat);
    const at::Tensor step = wanted.abs().amax(1, true) / 127;
    EXPECT_TRUE(((got - wanted).abs() <= 0.50001 * step).all().item<bool>()) << tensor.name;
    EXPECT_FALSE(got.ne(0).logical_and(wanted.eq(0)).any().item<bool>()) << tensor.name;
  }
}

TEST(Bitmask, HasTheTensorsOfSparseBitmask) {
  const TempDir dir;
  sparse_model("llama_gqa", dir.path());
  to_bitmask(dir / "dense", dir / "out", "int8");
  const Checkpoint checkpoint = Checkpoint::open(dir / "out");
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  EXPECT_FALSE(checkpoint.contains(name));
  const std::vector<int64_t>& mask = checkpoint.entry(name + ".bitmask").shape;
  const at::Tensor shape = checkpoint.read_stored(name + ".shape");
  EXPECT_EQ(shape[0].item<int64_t>(), mask[0]);
  EXPECT_EQ(mask[1], bitmask_row_bytes(shape[1].item<int64_t>()));
  EXPECT_EQ(checkpoint.entry(name + ".compressed").dtype, at::kChar);
  EXPECT_EQ(checkpoint.entry(name + ".row_offsets").shape, std::vector<int64_t>{mask[0]});
  EXPECT_EQ(checkpoint.entry(name + "_scale").shape, (std::vector<int64_t>{mask[0], 1}));
  const Json quantization = read_config(dir / "out").at("quantization_config");
  EXPECT_EQ(quantization.at("sparsity_config").at("format"), "sparse-bitmask");
  EXPECT_EQ(quantization.at("quant_method"), "compressed-tensors");
}

TEST(Bitmask, IsWrittenAgainAsADirectoryWithItsZeros) {
  const TempDir dir;
  const Model dense = open_model(sparse_model("llama_gqa", dir.path()));
  to_bitmask(dir / "dense", dir / "out");
  ExportJob job;
  job.model_dir = dir / "out";
  job.out_dir = dir / "again";
  run_export(job);
  EXPECT_FALSE(read_config(dir / "again").contains("quantization_config"));
  const Model again = open_model(dir / "again");
  for (const TensorInfo& tensor : dense.tensors()) {
    EXPECT_TRUE(
        at::equal(again.source().read(tensor), dense.source().read(tensor).to(at::kBFloat16)));
  }
}

TEST(Bitmask, LeavesMatricesWithoutZerosAsTheyAre) {
  const TempDir dir;
  const Model model = open_model(golden_dir("llama_gqa"));
  const auto weights = copy_weights(model);
  for (const TensorInfo& tensor : model.tensors()) {
    if (tensor.layer == 0 && in_layer(tensor)) weights->tensors.at(tensor.name).fill_(0);
  }
  fs::create_directories(dir / "half");
  write_model(Model(model.config(), weights), golden_dir("llama_gqa"), dir / "half");
  to_bitmask(dir / "half", dir / "out");
  const Checkpoint checkpoint = Checkpoint::open(dir / "out");
  EXPECT_TRUE(checkpoint.contains("model.layers.0.self_attn.q_proj.weight.bitmask"));
  EXPECT_TRUE(checkpoint.contains("model.layers.1.self_attn.q_proj.weight"));
  EXPECT_EQ(checkpoint.entry("model.layers.0.self_attn.q_proj.weight.compressed").bytes(), 0u);
}

TEST(Bitmask, RefusesWhatItCannotStore) {
  const TempDir dir;
  expect_error(ErrorKind::InvalidArgument, "no matrix of its layers would become smaller",
               [&] { to_bitmask(golden_dir("llama_gqa"), dir / "out"); });
  sparse_model("llama_gqa", dir.path());
  expect_error(ErrorKind::Unsupported, "add --dtype bf16",
               [&] { to_bitmask(dir / "dense", dir / "out", "", ""); });
  ExportJob job;
  job.model_dir = dir / "dense";
  job.values = "int8";
  job.out_dir = dir / "out";
  expect_error(ErrorKind::InvalidArgument, "--values is of --format bitmask",
               [&] { run_export(job); });
  job.format = "bitmask";
  job.out_dir = dir / "out.gguf";
  expect_error(ErrorKind::InvalidArgument, "ends in .gguf", [&] { run_export(job); });
  EXPECT_FALSE(fs::exists(dir / "out"));
}

// Files that lie. What names and shapes show is found when the model is opened, the rest when the
// tensor is read.
class Hostile : public testing::Test {
 protected:
  void SetUp() override {
    sparse_model("llama_gqa", dir_.path());
    to_bitmask(dir_ / "dense", dir_ / "out", "int8");
  }
  const TempDir dir_;
  const std::string weight_ = "model.layers.0.mlp.up_proj.weight";

  std::string file() const { return dir_ / "out/model.safetensors"; }

  // Overwrites bytes of a tensor.
  template <typename T>
  void poke(const std::string& ending, uint64_t index, T value) const {
    const uint64_t at = SafetensorsFile::open(file())->find(weight_ + ending)->begin;
    std::string bytes = read_file(file());
    std::memcpy(bytes.data() + at + index * sizeof value, &value, sizeof value);
    write_file(file(), bytes);
  }
  // Replaces text of the header by other text of the same length.
  void rename(const std::string& from, const std::string& to) const {
    ASSERT_EQ(from.size(), to.size());
    std::string bytes = read_file(file());
    const size_t at = bytes.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    bytes.replace(at, from.size(), to);
    write_file(file(), bytes);
  }
  void read_all() const {
    const Model model = open_model(dir_ / "out");
    for (const TensorInfo& tensor : model.tensors()) model.source().read(tensor);
  }
  void refused(ErrorKind kind, const std::string& message) const {
    expect_error(kind, message, [&] { read_all(); });
  }
};

TEST_F(Hostile, ABitTooMany) {
  const uint64_t at = SafetensorsFile::open(file())->find(weight_ + ".bitmask")->begin;
  const auto first = static_cast<uint8_t>(read_file(file())[at]);
  poke<uint8_t>(".bitmask", 0, static_cast<uint8_t>(first ^ 1));
  refused(ErrorKind::Corrupt, "but the rows before it have");
}

TEST_F(Hostile, ABitBehindTheLastColumn) {
  poke<uint8_t>(".bitmask", 7, 128);
  refused(ErrorKind::Corrupt, "behind the last of");
}

TEST_F(Hostile, AnOffsetOutsideTheValues) {
  poke<int64_t>(".row_offsets", 2, int64_t{1} << 40);
  refused(ErrorKind::Corrupt, "row 2 begins at value 1099511627776");
  poke<int64_t>(".row_offsets", 2, -8);
  refused(ErrorKind::Corrupt, "row 2 begins at value -8");
}

TEST_F(Hostile, AShapeThatIsNotTheModels) {
  poke<int64_t>(".shape", 1, 63);
  refused(ErrorKind::Corrupt, "config.json asks for");
}

TEST_F(Hostile, AShapeThatDoesNotFitTheMask) {
  for (const int64_t size : {int64_t{0}, int64_t{-1}, int64_t{1} << 62, int64_t{1} << 20}) {
    poke<int64_t>(".shape", 1, size);
    refused(ErrorKind::Corrupt, "does not fit a mask");
  }
}

TEST_F(Hostile, APartThatIsMissing) {
  rename(weight_ + ".compressed", weight_ + ".compresses");
  refused(ErrorKind::NotFound, weight_ + ".compressed");
}

TEST_F(Hostile, ScalesThatAreMissing) {
  rename(weight_ + "_scale", weight_ + "_scole");
  refused(ErrorKind::Unsupported, "_scole");
}

TEST_F(Hostile, ScalesThatAreNoNumbers) {
  poke<float>("_scale", 0, std::numeric_limits<float>::infinity());
  const Model model = open_model(dir_ / "out");
  expect_error(ErrorKind::Corrupt, "NaN or infinite",
               [&] { model.load(model.tensor(Role::UpProj, 0), at::kCPU); });
}

TEST_F(Hostile, AFileThatEndsEarly) {
  const std::string bytes = read_file(file());
  for (const size_t left : {bytes.size() - 1, bytes.size() / 2, size_t{9}}) {
    write_file(file(), bytes.substr(0, left));
    expect_error(ErrorKind::Corrupt, "model.safetensors", [&] { read_all(); });
  }
}

TEST_F(Hostile, ABitOfMaskOffsetsOrShapeChanged) {
  const std::string good = read_file(file());
  const auto safe = SafetensorsFile::open(file());
  for (const char* ending : {".bitmask", ".row_offsets", ".shape"}) {
    const TensorEntry entry = *safe->find(weight_ + ending);
    for (uint64_t at = entry.begin; at < entry.end; at += 1 + entry.bytes() / 97) {
      std::string bytes = good;
      bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
      write_file(file(), bytes);
      EXPECT_THROW(read_all(), Error) << ending << ' ' << at - entry.begin;
    }
  }
}

}  // namespace
}  // namespace prunus::test::bitmask_file_test
