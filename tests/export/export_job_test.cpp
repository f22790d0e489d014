#include "prunus/export/export_job.h"

#include <filesystem>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/export/choose.h"
#include "prunus/graph/shrink.h"
#include "prunus/io/hf_directory.h"
#include "prunus/job/output.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::export_job_test {
namespace {

namespace fs = std::filesystem;

// A model whose second layer lacks a group of heads and a channel.
std::string uneven(const TempDir& dir, const std::string& golden) {
  const Model model = open_model(golden_dir(golden));
  const Model small = shrink(model, {{AxisLabel::Ffn, 1, {1, 2, 3}}});
  fs::create_directory(dir / "uneven");
  write_model(small, golden_dir(golden), dir / "uneven");
  return dir / "uneven";
}

Json exported(const std::string& model, const std::string& form, const std::string& out,
              const std::string& dtype = "") {
  ExportJob job;
  job.model_dir = model;
  job.form = form;
  job.dtype = dtype;
  job.out_dir = out;
  return run_export(job);
}

TEST(RunExport, WritesEveryLegalFormAndReadsItAgain) {
  for (const char* golden : {"llama_bias", "qwen2", "gemma3_text", "phi3"}) {
    const TempDir dir;
    const std::string model = uneven(dir, golden);
    const at::Tensor ids = random_ids(open_model(model), 2, 6);
    const at::Tensor meant = logits_of(open_model(model), ids);
    int written = 0;
    for (const OutputForm* form : forms_of("hf")) {
      if (!is_legal(*form, open_model(model).config())) continue;
      const std::string out = dir / std::string(form->name);
      const Json record = exported(model, std::string(form->name), out);
      EXPECT_LT(relative_error(logits_of(open_model(out), ids), meant), 1e-5) << form->name;
      EXPECT_EQ(record.at("form").at("form"), form->name);
      EXPECT_FALSE(record.at("forms").empty());
      ++written;
    }
    EXPECT_GE(written, 2) << golden;  // shell and remote-code at least
  }
}

TEST(RunExport, TakesTheBestFormThatCostsNothing) {
  const TempDir dir;
  EXPECT_EQ(exported(golden_dir("qwen3"), "", dir / "a").at("form").at("form"), "stock");
  EXPECT_EQ(exported(uneven(dir, "llama_gqa"), "", dir / "b").at("form").at("form"), "deci-lm");
}

TEST(RunExport, SaysInDeciLmWhatVllmHasNoDefaultFor) {
  const TempDir dir;
  exported(uneven(dir, "llama_gqa"), "deci-lm", dir / "out");
  EXPECT_EQ(Json::parse(read_file(dir / "out/config.json")).at("hidden_act"), Json("silu"));
}

TEST(RunExport, RefusesAFormThatCannotHoldTheModelAndWritesNothing) {
  const TempDir dir;
  const std::string model = uneven(dir, "llama_gqa");
  expect_error(ErrorKind::Unsupported, "nearest form that holds it: --format hf --form deci-lm",
               [&] { exported(model, "stock", dir / "out"); });
  expect_error(ErrorKind::Unsupported, "no positions but rotary ones",
               [&] { exported(golden_dir("gpt2"), "remote-code", dir / "out"); });
  EXPECT_FALSE(fs::exists(dir / "out"));
  EXPECT_FALSE(fs::exists(dir / "out.partial"));
}

TEST(RunExport, ADryRunWritesNothing) {
  const TempDir dir;
  ExportJob job;
  job.model_dir = golden_dir("llama_gqa");
  job.out_dir = dir / "out";
  job.dry_run = true;
  EXPECT_FALSE(run_export(job).at("forms").empty());
  EXPECT_FALSE(fs::exists(dir / "out"));
}

TEST(RunExport, RoundsWeightsToADtypeAndSaysSo) {
  const TempDir dir;
  Json config = read_config(golden_dir("llama_gqa"));
  exported(golden_dir("llama_gqa"), "stock", dir / "half", "bf16");
  const Model model = open_model(dir / "half");
  EXPECT_EQ(model.source().dtype(model.tensor(Role::QProj, 0)), at::kBFloat16);
  const Json written = read_config(dir / "half");
  for (const char* key : {"dtype", "torch_dtype"}) {
    ASSERT_EQ(written.contains(key), config.contains(key));
    EXPECT_EQ(written.value(key, "bfloat16"), "bfloat16");
  }
}

TEST(RunExport, RefusesFloat16ForValuesBeyondIt) {
  const TempDir dir;
  const TinySizes sizes;
  const Model model = tiny_model(sizes);
  const auto weights = copy_weights(model);
  weights->tensors.at("model.norm.weight")[0] = 1e6F;
  save_model(Model(model.config(), weights), tiny_config(sizes), dir / "in");
  expect_error(ErrorKind::Numeric, "beyond what float16 holds",
               [&] { exported(dir / "in", "stock", dir / "out", "f16"); });
}

}  // namespace
}  // namespace prunus::test::export_job_test
