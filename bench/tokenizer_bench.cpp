// Encoding speed: all of WikiText-2 test in one call. Needs PRUNUS_SHARED, the directory that holds
// corpora/ and tokenizers/. "first" starts with an empty word cache, "again" with a full one.
#include <cstdlib>
#include <filesystem>
#include <string>

#include <benchmark/benchmark.h>

#include "prunus/base/files.h"
#include "prunus/text/tokenizer.h"

namespace {

void encode(benchmark::State& state, const std::string& name, bool warm) {
  const char* shared = std::getenv("PRUNUS_SHARED");
  const std::filesystem::path root = shared == nullptr ? "" : shared;
  const auto corpus = root / "corpora/wikitext-2-raw/wiki.test.raw";
  if (shared == nullptr || !std::filesystem::exists(corpus)) {
    state.SkipWithError("set PRUNUS_SHARED to the directory with corpora/ and tokenizers/");
    return;
  }
  const std::string text = prunus::read_file(corpus.string());
  const std::string dir = (root / "tokenizers" / name).string();
  auto tokenizer = prunus::load_tokenizer(dir);
  if (warm) tokenizer->encode(text);
  for (auto _ : state) {
    benchmark::DoNotOptimize(tokenizer->encode(text));
    if (warm) continue;
    state.PauseTiming();
    tokenizer = prunus::load_tokenizer(dir);
    state.ResumeTiming();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
}

}  // namespace

int main(int argc, char** argv) {
  for (const char* name : {"gpt2", "llama2", "llama3", "qwen2"}) {
    for (const bool warm : {false, true}) {
      benchmark::RegisterBenchmark(
          (std::string("encode/") + name + (warm ? "/again" : "/first")).c_str(),
          [name, warm](benchmark::State& state) { encode(state, name, warm); })
          ->Unit(benchmark::kMillisecond);
    }
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
