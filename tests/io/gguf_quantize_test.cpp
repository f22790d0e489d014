#include "prunus/io/gguf_quantize.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "prunus/io/gguf.h"

#include "tests/io/fixture.h"
#include "tests/support/paths.h"

namespace prunus::gguf_quantize_test {
namespace {

using namespace testing_io;
using ::testing::HasSubstr;

const GgufBlockType& type_called(std::string_view name) { return *find_gguf_block_type(name); }

std::vector<std::byte> quantized(std::string_view name, const at::Tensor& values,
                                 const float* importance = nullptr) {
  const GgufBlockType& type = type_called(name);
  std::vector<std::byte> bytes(static_cast<size_t>(values.numel() / type.elements * type.bytes));
  quantize_gguf_rows(type, values.const_data_ptr<float>(), values.size(0), values.size(1),
                     bytes.data(), importance);
  return bytes;
}

at::Tensor through(std::string_view name, const at::Tensor& values,
                   const float* importance = nullptr) {
  const auto bytes = quantized(name, values, importance);
  at::Tensor back = at::empty_like(values);
  dequantize_gguf_rows(type_called(name), bytes.data(), values.size(0), values.size(1),
                       back.mutable_data_ptr<float>());
  return back;
}

at::Tensor normal(int64_t rows, int64_t columns, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> draw;
  at::Tensor values = at::empty({rows, columns});
  auto* to = values.mutable_data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i) to[i] = draw(random);
  return values;
}

double squared_error(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b).square().sum().item<double>();
}

constexpr std::string_view kKTypes[] = {"Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"};

// The types that are searched for differ from the package's, and lie nearer to the values.
TEST(GgufQuantize, EqualsThePackageOrIsNearer) {
  const auto file = GgufFile::open(test::source_path("tests/io/golden/quantized.gguf"));
  const at::Tensor values = file->read(*file->find("values"));
  int equal = 0;
  int nearer = 0;
  for (const GgufTensor& tensor : file->tensors()) {
    if (tensor.name == "values") continue;
    const auto bytes = file->bytes(tensor);
    const auto got = quantized(tensor.name, values);
    if (tensor.name.starts_with("Q4") || tensor.name.starts_with("Q5")) {
      EXPECT_LT(squared_error(through(tensor.name, values), values),
                squared_error(file->read(tensor), values))
          << tensor.name;
      ++nearer;
    } else {
      EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), got.begin(), got.end())) << tensor.name;
      ++equal;
    }
  }
  EXPECT_EQ(equal, 3);
  EXPECT_EQ(nearer, 4);
}

// Sixteen levels that a block uses from the first to the last are every other one of thirty-one.
TEST(GgufQuantize, FiveBitsKeepWhatFourBitsHeld) {
  std::mt19937 random(13);
  at::Tensor once = at::empty({8, 256});
  auto* to = once.mutable_data_ptr<float>();
  for (int64_t i = 0; i < once.numel(); ++i) {
    const auto place = static_cast<int>(i % 32);
    const auto code = static_cast<float>(place < 2 ? 15 * place : random() % 16);
    to[i] = code * 0.03125F - 0.21875F * static_cast<float>(1 + i / 256);
  }
  EXPECT_TRUE(at::equal(through("Q5_1", once), once));
}

// A quantised number quantises to itself: reading and writing again changes no value.
TEST(GgufQuantize, QuantisedValuesStay) {
  for (const std::string_view name : {"F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"}) {
    const at::Tensor once = through(name, normal(4, 256, 3));
    EXPECT_LE(squared_error(through(name, once), once), 1e-6 * once.square().sum().item<double>())
        << name;
  }
}

// One block of Q4_K by brute force over codes that only scale and minimum of the format restrict:
// a group of its own, scale and minimum as real numbers from a fine grid. Real numbers can only do
// better, but not by much.
TEST(GgufQuantize, GroupsAreNearTheBestScaleAndMinimum) {
  const at::Tensor values = normal(1, 256, 11);
  const double got = squared_error(through("Q4_K", values), values);
  const auto* x = values.const_data_ptr<float>();
  double bound = 0;
  for (int group = 0; group < 8; ++group) {
    double best = std::numeric_limits<double>::infinity();
    for (double scale = 0.15; scale < 0.6; scale += 0.002) {
      for (double minimum = 0; minimum < 5; minimum += 0.01) {
        double error = 0;
        for (int i = 0; i < 32 && error < best; ++i) {
          const double code =
              std::clamp(std::round((x[32 * group + i] + minimum) / scale), 0., 15.);
          const double difference = scale * code - minimum - x[32 * group + i];
          error += difference * difference;
        }
        best = std::min(best, error);
      }
    }
    bound += best;
  }
  EXPECT_GT(got, 0.98 * bound);
  EXPECT_LT(got, 1.12 * bound);
}

// Relative squared errors of normal numbers. A uniform quantiser of b bits over ±3σ of a group has
// about (6/2^b)²/12; each type must be near what its bits can give, and better than the one below.
TEST(GgufQuantize, ErrorsFallWithTheBits) {
  const at::Tensor values = normal(16, 512, 5);
  const double energy = values.square().sum().item<double>();
  const double limits[] = {0.075, 0.031, 0.0058, 0.0014, 0.00038};
  double last = 1;
  for (size_t i = 0; i < std::size(limits); ++i) {
    const double error = squared_error(through(kKTypes[i], values), values) / energy;
    EXPECT_LT(error, limits[i]) << kKTypes[i];
    EXPECT_LT(error, last) << kKTypes[i];
    last = error;
  }
}

TEST(GgufQuantize, ImportantColumnsLoseLess) {
  const at::Tensor values = normal(32, 256, 7);
  at::Tensor importance = at::ones({256});
  importance.slice(0, 0, 256, 4).fill_(50);
  for (const std::string_view name : kKTypes) {
    const at::Tensor plain = through(name, values);
    const at::Tensor weighted = through(name, values, importance.const_data_ptr<float>());
    const auto error = [&](const at::Tensor& got) {
      return squared_error(got.slice(1, 0, 256, 4), values.slice(1, 0, 256, 4));
    };
    EXPECT_LT(error(weighted), 0.9 * error(plain)) << name;
  }
}

TEST(GgufQuantize, ZerosAndConstantsSurvive) {
  for (const std::string_view name : kKTypes) {
    EXPECT_TRUE(at::equal(through(name, at::zeros({1, 256})), at::zeros({1, 256}))) << name;
    for (const float value : {0.37F, -0.37F, 40.0F, -1e-2F}) {
      const at::Tensor constant = at::full({1, 256}, value);
      EXPECT_TRUE(at::allclose(through(name, constant), constant, 2e-3, 0)) << name << value;
    }
  }
}

TEST(GgufQuantize, TinyValuesDoNoHarm) {
  for (const GgufBlockType& type : gguf_block_types()) {
    if (!is_writable(type)) continue;
    for (const float value : {1e-45F, 1e-38F, 1e-12F, -1e-9F}) {
      at::Tensor values = at::full({1, 256}, value);
      values[0][7] = -2 * value;
      EXPECT_LE((through(type.name, values) - values).abs().max().item<float>(), 3e-7F)
          << type.name << value;
    }
  }
}

TEST(GgufQuantize, ScalesBeyondAHalfAreAnError) {
  for (const GgufBlockType& type : gguf_block_types()) {
    if (!is_writable(type)) continue;
    at::Tensor values = at::zeros({1, 256});
    values[0][3] = 1e38F;
    if (type.name == "F32" || type.name == "BF16") {
      EXPECT_NEAR(through(type.name, values)[0][3].item<float>(), 1e38F, 4e35F);
      continue;
    }
    const auto error = error_of([&] { through(type.name, values); });
    EXPECT_EQ(error.kind(), ErrorKind::Numeric) << type.name;
    EXPECT_THAT(error.what(), HasSubstr("beyond the range of a half")) << type.name;
  }
}

TEST(GgufQuantize, ThreadsChangeNothing) {
  const at::Tensor values = normal(64, 1024, 9);
  const int threads = at::get_num_threads();
  for (const GgufBlockType& type : gguf_block_types()) {
    if (!is_writable(type)) continue;
    at::set_num_threads(1);
    const auto one = quantized(type.name, values);
    at::set_num_threads(4);
    const auto many = quantized(type.name, values);
    at::set_num_threads(threads);
    EXPECT_EQ(one, many) << type.name;
  }
}

TEST(GgufQuantize, RowsThatAreNoWholeBlocksFallBack) {
  const auto name = [](std::string_view wanted, int64_t columns) {
    return fitting_type(type_called(wanted), columns).name;
  };
  EXPECT_EQ(name("Q4_K", 512), "Q4_K");
  EXPECT_EQ(name("Q2_K", 576), "Q4_0");
  EXPECT_EQ(name("Q3_K", 576), "Q4_0");
  EXPECT_EQ(name("Q4_K", 576), "Q5_1");
  EXPECT_EQ(name("Q5_K", 576), "Q5_1");
  EXPECT_EQ(name("Q6_K", 576), "Q8_0");
  EXPECT_EQ(name("Q4_K", 580), "F16");
  EXPECT_EQ(name("Q8_0", 48), "F16");
  EXPECT_EQ(name("BF16", 7), "BF16");
}

TEST(GgufQuantize, EveryTypeThatIsReadIsWritten) {
  for (const GgufBlockType& type : gguf_block_types()) {
    EXPECT_EQ(is_writable(type), type.dequantize != nullptr) << type.name;
  }
  const auto error = error_of([] { quantized("IQ4_NL", at::zeros({1, 32})); });
  EXPECT_EQ(error.kind(), ErrorKind::Unsupported);
  EXPECT_THAT(error.what(), HasSubstr("does not write the type IQ4_NL"));
}

}  // namespace
}  // namespace prunus::gguf_quantize_test
