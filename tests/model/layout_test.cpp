#include "prunus/model/layout.h"

#include <set>

#include <ATen/ATen.h>

#include <gmock/gmock.h>

#include "support/tiny_model.h"

namespace prunus::test::layout_test {
namespace {

using namespace axes;
using namespace specs;
using testing::ElementsAre;
using Shape = std::vector<int64_t>;

constexpr TensorSpec kStacked[] = {matrix("a.qkv", Role::QProj, QueryHeads, Hidden),
                                   matrix("a.qkv", Role::KProj, KeyHeads, Hidden),
                                   matrix("a.qkv", Role::VProj, ValueHeads, Hidden)};
constexpr TensorSpec kByGroup[] = {interleaved(Factor::KvGroup, kStacked[0]),
                                   interleaved(Factor::KvGroup, kStacked[1]),
                                   interleaved(Factor::KvGroup, kStacked[2])};
constexpr TensorSpec kConv1d[] = {transposed(kStacked[0]), transposed(kStacked[1]),
                                  transposed(kStacked[2])};
constexpr TensorSpec kBiasByGroup[] = {
    interleaved(Factor::KvGroup, vector("a.bias", Role::QBias, QueryHeads)),
    interleaved(Factor::KvGroup, vector("a.bias", Role::KBias, KeyHeads)),
    interleaved(Factor::KvGroup, vector("a.bias", Role::VBias, ValueHeads))};
constexpr TensorSpec kExperts[] = {matrix("moe.gate", Role::Router, axes::Expert, Hidden),
                                   matrix("moe.{e}.up", Role::UpProj, ExpertFfn, Hidden),
                                   matrix("moe.{e}.down", Role::DownProj, Hidden, ExpertFfn)};

// As a layer with two key/value heads and `experts` hands it over.
TensorInfo unplaced(const TensorSpec& spec, Shape shape, int64_t experts = 0) {
  TensorInfo info{.name = std::string(spec.name), .spec = &spec, .layer = 0, .shape = shape};
  info.stored.groups = 2;
  info.stored.experts = experts;
  return info;
}

// Two query heads of two channels read each of the two key/value heads; `columns` 0: biases.
std::vector<TensorInfo> qkv(const TensorSpec* parts, int64_t columns) {
  std::vector<TensorInfo> tensors;
  for (int i = 0; i < 3; ++i) {
    const int64_t rows = i == 0 ? 8 : 4;
    tensors.push_back(unplaced(parts[i], columns == 0 ? Shape{rows} : Shape{rows, columns}));
  }
  place_in_files(tensors);
  return tensors;
}

// Each element is the number of its row.
at::Tensor numbered_rows(int64_t rows, int64_t columns) {
  return at::arange(rows, at::kFloat).unsqueeze(1).expand({rows, columns}).contiguous();
}

std::vector<float> rows_of(const at::Tensor& part) {
  const at::Tensor first = part.select(1, 0).contiguous();
  return {first.data_ptr<float>(), first.data_ptr<float>() + first.numel()};
}

TEST(PlaceInFiles, StacksThePartsOfAFusedTensorAsTheTableListsThem) {
  const auto tensors = qkv(kStacked, 3);
  EXPECT_EQ(tensors[0].name, "a.qkv#q_proj");
  EXPECT_EQ(tensors[2].name, "a.qkv#v_proj");
  const auto files = file_tensors(tensors);
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].name, "a.qkv");
  EXPECT_EQ(files[0].shape, (Shape{16, 3}));
  EXPECT_THAT(files[0].parts, ElementsAre(&tensors[0], &tensors[1], &tensors[2]));
  const at::Tensor stored = numbered_rows(16, 3);
  EXPECT_THAT(rows_of(part_of(stored, tensors[0])), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(rows_of(part_of(stored, tensors[1])), ElementsAre(8, 9, 10, 11));
  EXPECT_THAT(rows_of(part_of(stored, tensors[2])), ElementsAre(12, 13, 14, 15));
  // Rows lie together: nothing is copied.
  EXPECT_EQ(part_of(stored, tensors[1]).data_ptr<float>(), stored.data_ptr<float>() + 8 * 3);
}

TEST(PlaceInFiles, InterleavesThePartsByKvGroup) {
  const auto tensors = qkv(kByGroup, 3);
  EXPECT_EQ(file_tensors(tensors)[0].shape, (Shape{16, 3}));
  const at::Tensor stored = numbered_rows(16, 3);  // q q q q k k v v, twice
  EXPECT_THAT(rows_of(part_of(stored, tensors[0])), ElementsAre(0, 1, 2, 3, 8, 9, 10, 11));
  EXPECT_THAT(rows_of(part_of(stored, tensors[1])), ElementsAre(4, 5, 12, 13));
  EXPECT_THAT(rows_of(part_of(stored, tensors[2])), ElementsAre(6, 7, 14, 15));
}

TEST(PlaceInFiles, FindsThePartsOfAConv1dInColumns) {
  const auto tensors = qkv(kConv1d, 3);
  EXPECT_EQ(file_tensors(tensors)[0].shape, (Shape{3, 16}));
  const at::Tensor stored = at::arange(48, at::kFloat).view({3, 16});
  const at::Tensor k = part_of(stored, tensors[1]);
  ASSERT_EQ(k.sizes(), (Shape{4, 3}));
  EXPECT_EQ(k[0][0].item<float>(), 8);            // output 8 of input 0
  EXPECT_EQ(k[3][2].item<float>(), 2 * 16 + 11);  // output 11 of input 2
}

TEST(PlaceInFiles, LeavesATensorAloneWhereNothingSharesIt) {
  std::vector<TensorInfo> alone = {unplaced(kByGroup[0], {8, 3})};
  place_in_files(alone);
  EXPECT_EQ(alone[0].name, "a.qkv");
  EXPECT_TRUE(alone[0].stored.plain());
  const at::Tensor stored = numbered_rows(8, 3);
  EXPECT_TRUE(part_of(stored, alone[0]).is_same(stored));
}

TEST(PlaceInFiles, NamesOneTensorPerExpertAndJoinsThemAlongTheirAxis) {
  std::vector<TensorInfo> tensors = {unplaced(kExperts[0], {3, 5}, 3),
                                     unplaced(kExperts[1], {6, 5}, 3),
                                     unplaced(kExperts[2], {5, 6}, 3)};
  place_in_files(tensors);
  EXPECT_EQ(tensors[1].name, "moe.*.up");
  EXPECT_TRUE(tensors[0].stored.plain());  // the router is one tensor in the same layer
  EXPECT_THAT(file_names(tensors[0]), ElementsAre("moe.gate"));
  EXPECT_THAT(file_names(tensors[2]), ElementsAre("moe.0.down", "moe.1.down", "moe.2.down"));
  const auto files = file_tensors(tensors);
  ASSERT_EQ(files.size(), 7u);
  EXPECT_EQ(files[2].name, "moe.1.up");
  EXPECT_EQ(files[2].shape, (Shape{2, 5}));
  EXPECT_EQ(files[6].name, "moe.2.down");
  EXPECT_EQ(files[6].shape, (Shape{5, 2}));
  MemorySource source;
  for (const TensorInfo& info : tensors) source.tensors[info.name] = at::randn(info.shape);
  const at::Tensor up = source.tensors.at("moe.*.up");
  const at::Tensor down = source.tensors.at("moe.*.down");
  EXPECT_TRUE(at::equal(file_value(files[2], source), up.slice(0, 2, 4)));
  EXPECT_TRUE(at::equal(file_value(files[6], source), down.slice(1, 4, 6)));
  EXPECT_TRUE(file_value(files[6], source).is_contiguous());
}

TEST(FileValue, HasTheBytesThatPartOfRead) {
  for (const auto& [parts, columns] : {std::pair{kStacked, 3}, std::pair{kByGroup, 3},
                                       std::pair{kConv1d, 3}, std::pair{kBiasByGroup, 0}}) {
    const auto tensors = qkv(parts, columns);
    const FileTensor file = file_tensors(tensors)[0];
    const at::Tensor stored = at::randn(file.shape).to(at::kBFloat16);
    MemorySource source;
    for (const TensorInfo& info : tensors) {
      source.tensors[info.name] = part_of(stored, info);
      EXPECT_EQ(source.tensors[info.name].sizes(), info.shape) << info.name;
    }
    const at::Tensor written = file_value(file, source);
    EXPECT_EQ(written.scalar_type(), at::kBFloat16);
    EXPECT_TRUE(written.is_contiguous());
    EXPECT_TRUE(at::equal(written, stored)) << parts[0].name << " " << parts[0].transposed;
  }
}

TEST(RoleName, IsAnotherForEveryRole) {
  std::set<std::string> names;
  for (int role = 0; role < kRoleCount; ++role) names.insert(role_name(static_cast<Role>(role)));
  EXPECT_EQ(names.size(), static_cast<size_t>(kRoleCount));
  EXPECT_EQ(role_name(Role::GateBias), "gate_bias");
  EXPECT_EQ(role_name(Role::PostMlpNorm), "post_mlp_norm");
  EXPECT_EQ(role_name(Role::SharedRouter), "shared_router");
}

}  // namespace
}  // namespace prunus::test::layout_test
