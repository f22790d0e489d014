#include "prunus/io/tensor_file.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/base/files.h"

#include "support/expect_error.h"
#include "support/paths.h"

namespace prunus::test::tensor_file_test {
namespace {

std::vector<at::Tensor> samples() {
  return {at::tensor({1.5f, -2.0f, 0.0f, 3e38f, 1e-40f, -0.0f}).view({2, 3}),
          at::tensor({1.0 / 3}, at::kDouble).squeeze(0),
          at::tensor({int64_t{1} << 62, int64_t{-7}}, at::kLong), at::empty({0, 4}, at::kFloat),
          at::tensor({0, 255, 7}, at::kByte)};
}

// Bit for bit, dtype and shape included.
void expect_same(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].scalar_type(), b[i].scalar_type());
    ASSERT_EQ(a[i].sizes(), b[i].sizes());
    const at::Tensor x = a[i].contiguous();
    const at::Tensor y = b[i].contiguous();
    if (x.nbytes() == 0) continue;
    EXPECT_EQ(std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()), 0);
  }
}

std::vector<std::string> files_in(const std::string& dir) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST(SaveTensors, SurvivesTheDisk) {
  const TempDir dir;
  save_tensors(dir / "a", samples());
  expect_same(load_tensors(dir / "a"), samples());
  save_tensors(dir / "a",
               {at::arange(6, at::kFloat).view({2, 3}).t()});  // replaces; not contiguous
  expect_same(load_tensors(dir / "a"), {at::tensor({0.f, 3.f, 1.f, 4.f, 2.f, 5.f}).view({3, 2})});
  save_tensors(dir / "none", {});
  EXPECT_TRUE(load_tensors(dir / "none").empty());
  EXPECT_EQ(files_in(dir.path()), (std::vector<std::string>{"a", "none"}));  // nothing temporary
}

TEST(SaveTensors, RefusesWhatItCannotWrite) {
  const TempDir dir;
  expect_error(ErrorKind::InvalidArgument, "dtype",
               [&] { save_tensors(dir / "a", {at::ones({2}, at::kHalf)}); });
  expect_error(ErrorKind::Io, "cannot write",
               [&] { save_tensors(dir / "no/such/folder", samples()); });
  EXPECT_TRUE(files_in(dir.path()).empty());
}

TEST(LoadTensors, FindsEveryTruncation) {
  const TempDir dir;
  save_tensors(dir / "a", samples());
  const auto whole = std::filesystem::file_size(dir / "a");
  write_file(dir / "longer", read_file(dir / "a") + "x");
  expect_error(ErrorKind::Corrupt, "after its last tensor", [&] { load_tensors(dir / "longer"); });
  for (auto bytes = whole; bytes-- > 0;) {
    std::filesystem::resize_file(dir / "a", bytes);
    expect_error(ErrorKind::Corrupt, dir / "a", [&] { load_tensors(dir / "a"); });
  }
}

// A file of this header and so many zero bytes.
std::string file_with(const std::string& header, size_t bytes) {
  const uint64_t length = header.size();
  std::string file = "PRUNUS-TENSORS-1";
  file.append(reinterpret_cast<const char*>(&length), sizeof length);
  return file + header + std::string(bytes, '\0');
}

TEST(LoadTensors, RefusesForeignAndHostileFilesBeforeAllocating) {
  const TempDir dir;
  const auto refuse = [&](const std::string& content) {
    write_file(dir / "bad", content);
    expect_error(ErrorKind::Corrupt, dir / "bad", [&] { load_tensors(dir / "bad"); });
  };
  refuse("");
  refuse("{\"format\": \"safetensors\"} and more text than the magic is long");
  refuse(std::string(200, '\0'));
  refuse("PRUNUS-TENSORS-2" + std::string(100, '\0'));
  refuse("PRUNUS-TENSORS-1" + std::string(8, '\xff'));
  refuse(file_with("[{", 4));
  refuse(file_with("{\"dtype\": 1}", 4));
  refuse(file_with("7", 4));
  refuse(file_with("[7]", 4));
  refuse(file_with(R"([{"dtype": "F16", "shape": [2]}])", 4));
  refuse(file_with(R"([{"dtype": "F32"}])", 4));
  refuse(file_with(R"([{"shape": [1]}])", 4));
  refuse(file_with(R"([{"dtype": "F32", "shape": 1}])", 4));
  refuse(file_with(R"([{"dtype": "F32", "shape": [1.5]}])", 4));
  refuse(file_with(R"([{"dtype": "F32", "shape": [-1]}])", 4));
  refuse(file_with(R"([{"dtype": "F32", "shape": [-1, -1]}])", 4));
  refuse(file_with(R"([{"dtype": "F32", "shape": [0, -1]}])", 0));
  refuse(file_with(R"([{"dtype": "F32", "shape": [0, 4294967296, 4294967296]}])", 0));
  refuse(file_with(R"([{"dtype": "F32", "shape": [1000000000000]}])", 4));
  refuse(file_with(R"([{"dtype": "F32", "shape": [4294967296, 4294967296, 4]}])", 4));
  refuse(file_with(R"([{"dtype": "F32", "shape": [18446744073709551615]}])", 4));
  refuse(file_with(R"([{"dtype": "F32", "shape": [2]}])", 4));
  expect_error(ErrorKind::NotFound, "cannot open", [&] { load_tensors(dir / "absent"); });
  write_file(dir / "good", file_with(R"([{"dtype": "F32", "shape": [1, 1]}])", 4));
  expect_same(load_tensors(dir / "good"), {at::zeros({1, 1})});
}

}  // namespace
}  // namespace prunus::test::tensor_file_test
