#include "prunus/model/resident_dtype.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/tiny_model.h"

namespace prunus::test::resident_dtype_test {
namespace {

// A model whose file would hold `type`.
class StoredAs : public WeightSource {
 public:
  StoredAs(std::shared_ptr<const WeightSource> source, at::ScalarType type)
      : source_(std::move(source)), type_(type) {}
  at::Tensor read(const TensorInfo& tensor) const override { return source_->read(tensor); }
  at::ScalarType dtype(const TensorInfo&) const override { return type_; }
  void prefetch(const TensorInfo&) const override {}
  void release(const TensorInfo&) const override {}

 private:
  std::shared_ptr<const WeightSource> source_;
  at::ScalarType type_;
};

at::ScalarType chosen(at::ScalarType stored, ResidentDtype asked, at::Device device) {
  const Model plain = tiny_model({});
  return resident_dtype(
      Model(plain.config(), std::make_shared<StoredAs>(plain.shared_source(), stored)), asked,
      device);
}

TEST(ResidentDtype, AutoIsAsStoredButForHalvesOnTheCpu) {
  const at::Device cpu = at::kCPU, gpu(at::kCUDA, 0);
  EXPECT_EQ(chosen(at::kBFloat16, ResidentDtype::Auto, cpu), at::kBFloat16);
  EXPECT_EQ(chosen(at::kHalf, ResidentDtype::Auto, cpu), at::kFloat);
  EXPECT_EQ(chosen(at::kHalf, ResidentDtype::Auto, gpu), at::kHalf);
  EXPECT_EQ(chosen(at::kFloat, ResidentDtype::Auto, gpu), at::kFloat);
  EXPECT_EQ(chosen(at::kDouble, ResidentDtype::Auto, cpu), at::kFloat);
}

TEST(ResidentDtype, IsWhatWasAskedFor) {
  EXPECT_EQ(chosen(at::kFloat, ResidentDtype::BFloat16, at::kCPU), at::kBFloat16);
  EXPECT_EQ(chosen(at::kFloat, ResidentDtype::Float16, at::kCPU), at::kHalf);
  EXPECT_EQ(chosen(at::kBFloat16, ResidentDtype::Float32, at::kCPU), at::kFloat);
  EXPECT_EQ(chosen(at::kHalf, ResidentDtype::File, at::kCPU), at::kHalf);
}

TEST(ResidentDtype, HasNames) {
  EXPECT_EQ(parse_resident_dtype("file"), ResidentDtype::File);
  EXPECT_EQ(resident_dtype_name(ResidentDtype::BFloat16), "bfloat16");
  expect_error(ErrorKind::InvalidArgument, "known: auto, float32, bfloat16, float16, file",
               [] { parse_resident_dtype("int4"); });
}

}  // namespace
}  // namespace prunus::test::resident_dtype_test
