// What a real llama.cpp makes of a GGUF file: token ids, logits, perplexity, generated text. Built
// by tools/llama_cpp/install.sh against the library that npm's node-llama-cpp carries; no part of
// Prunus. Logits are of an FP32 KV cache without flash attention; weights that are not FP32 are
// multiplied as llama.cpp does (F16 in half precision, quantised ones with quantised activations).
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "ggml-backend.h"
#include "llama.h"

namespace {

const char* kUsage = R"(usage: llama_oracle COMMAND MODEL.gguf ...
  tokens MODEL FILE          the ids of each line of FILE, a line each
      --special              with what llama.cpp puts around a text (BOS, EOS)
      --plain                special tokens that stand in the text are text, not ids
      --nul                  texts end with a NUL byte instead of a newline
  logits MODEL IDS OUT.npy   ids from the text file IDS; writes float32 [ids, vocabulary]
  perplexity MODEL TEXT      the whole file tokenised once, BOS in front where llama.cpp puts it,
                             chunks of N ids, the rest dropped, N - 1 predictions each
      --ids                  TEXT holds ids, BOS included
      --seqlen N             128
      --max-chunks M         only the first M
  generate MODEL PROMPT      greedy
      --max-tokens N         32
      --chat                 PROMPT is a user's turn, written by the file's chat template
  bench MODEL TOKENS         tokens a second: a prompt of TOKENS ids, then --max-tokens steps, the
                             library's own choice of cache and attention; a run before is not counted
  --threads N                1; more only on an idle machine (they wait by spinning)
)";

[[noreturn]] void fail(const std::string& what) {
  std::cerr << "llama_oracle: " << what << "\n";
  std::exit(1);
}

struct Arguments {
  std::vector<std::string> plain;
  bool special = false, as_text = false, nul = false, ids = false, chat = false;
  int seqlen = 128, max_chunks = 1 << 30, max_tokens = 32, threads = 1;
};

Arguments parse(int count, char** values) {
  Arguments arguments;
  for (int i = 1; i < count; ++i) {
    const std::string word = values[i];
    const auto number = [&] { return i + 1 < count ? std::atoi(values[++i]) : 0; };
    if (word == "--special") {
      arguments.special = true;
    } else if (word == "--plain") {
      arguments.as_text = true;
    } else if (word == "--nul") {
      arguments.nul = true;
    } else if (word == "--ids") {
      arguments.ids = true;
    } else if (word == "--chat") {
      arguments.chat = true;
    } else if (word == "--seqlen") {
      arguments.seqlen = number();
    } else if (word == "--max-chunks") {
      arguments.max_chunks = number();
    } else if (word == "--max-tokens") {
      arguments.max_tokens = number();
    } else if (word == "--threads") {
      arguments.threads = number();
    } else if (word.starts_with("--")) {
      fail("unknown option " + word + "\n" + kUsage);
    } else {
      arguments.plain.push_back(word);
    }
  }
  if (arguments.plain.size() < 3) fail(kUsage);
  if (arguments.seqlen < 2 || arguments.threads < 1) fail("--seqlen is at least 2, --threads 1");
  return arguments;
}

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<llama_token> read_ids(const std::string& path) {
  std::istringstream text(read(path));
  std::vector<llama_token> ids{std::istream_iterator<llama_token>(text), {}};
  if (!text.eof()) fail(path + ": holds something that is no id");
  return ids;
}

llama_model* load(const Arguments& arguments, bool vocabulary_only) {
  llama_log_set(
      [](ggml_log_level level, const char* text, void*) {
        if (level == GGML_LOG_LEVEL_ERROR || level == GGML_LOG_LEVEL_WARN) std::cerr << text;
      },
      nullptr);
  ggml_backend_load_all_from_path(LLAMA_LIBRARIES);
  llama_backend_init();
  llama_model_params params = llama_model_default_params();
  params.vocab_only = vocabulary_only;
  params.n_gpu_layers = 0;
  llama_model* model = llama_model_load_from_file(arguments.plain[1].c_str(), params);
  if (model == nullptr) fail("llama.cpp does not load " + arguments.plain[1]);
  return model;
}

llama_context* context_with(llama_model* model, llama_context_params params,
                            const Arguments& arguments, size_t tokens) {
  params.n_ctx = params.n_batch = params.n_ubatch = static_cast<uint32_t>(tokens);
  params.n_threads = params.n_threads_batch = arguments.threads;
  llama_context* context = llama_init_from_model(model, params);
  if (context == nullptr) fail("llama.cpp makes no context of " + std::to_string(tokens) + " ids");
  return context;
}

llama_context* context_of(llama_model* model, const Arguments& arguments, size_t tokens) {
  llama_context_params params = llama_context_default_params();
  params.type_k = params.type_v = GGML_TYPE_F32;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  params.swa_full = true;
  return context_with(model, params, arguments, tokens);
}

std::vector<llama_token> tokenize(const llama_vocab* vocab, const std::string& text, bool around,
                                  bool parses) {
  std::vector<llama_token> ids(text.size() + 8);
  const int count = llama_tokenize(vocab, text.data(), static_cast<int32_t>(text.size()),
                                   ids.data(), static_cast<int32_t>(ids.size()), around, parses);
  if (count < 0) fail("llama_tokenize wants " + std::to_string(-count) + " places");
  ids.resize(static_cast<size_t>(count));
  return ids;
}

// Runs the ids from position 0 on; the logits of all of them are there afterwards.
void decode(llama_context* context, const llama_token* ids, size_t count, int first) {
  llama_batch batch = llama_batch_init(static_cast<int32_t>(count), 0, 1);
  batch.n_tokens = static_cast<int32_t>(count);
  for (size_t i = 0; i < count; ++i) {
    batch.token[i] = ids[i];
    batch.pos[i] = first + static_cast<int>(i);
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = 0;
    batch.logits[i] = 1;
  }
  const int status = llama_decode(context, batch);
  llama_batch_free(batch);
  if (status != 0) fail("llama_decode gives " + std::to_string(status));
}

// One token, whose logits alone are asked for, behind `place` others.
void step(llama_context* context, llama_token id) {
  llama_token one = id;
  if (llama_decode(context, llama_batch_get_one(&one, 1)) != 0) fail("llama_decode fails");
}

void bench(const Arguments& arguments) {
  using Clock = std::chrono::steady_clock;
  const int prompt = std::max(1, std::atoi(arguments.plain[2].c_str()));
  llama_model* model = load(arguments, false);
  const auto seconds = [](Clock::time_point from) {
    return std::chrono::duration<double>(Clock::now() - from).count();
  };
  llama_context* context = context_with(model, llama_context_default_params(), arguments,
                                        static_cast<size_t>(prompt + arguments.max_tokens + 1));
  const llama_vocab* vocab = llama_model_get_vocab(model);
  const llama_token some = llama_vocab_n_tokens(vocab) / 3;
  double prefill = 0, decode = 0;
  for (int run = 0; run < 2; ++run) {
    llama_memory_clear(llama_get_memory(context), true);
    std::vector<llama_token> ids(static_cast<size_t>(prompt));
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = 300 + static_cast<llama_token>(i * 37 % 1000);
    auto begin = Clock::now();
    if (llama_decode(context, llama_batch_get_one(ids.data(), prompt)) != 0) fail("llama_decode");
    llama_synchronize(context);
    prefill = seconds(begin);
    begin = Clock::now();
    for (int i = 0; i < arguments.max_tokens; ++i) {
      step(context, some + i);
      llama_synchronize(context);
    }
    decode = seconds(begin);
  }
  std::cout << "{\"prefill\": " << prompt / prefill
            << ", \"decode\": " << arguments.max_tokens / decode << "}\n";
}

void tokens(const Arguments& arguments) {
  const llama_vocab* vocab = llama_model_get_vocab(load(arguments, true));
  const std::string content = read(arguments.plain[2]);
  const char end = arguments.nul ? '\0' : '\n';
  for (size_t at = 0; at < content.size();) {
    const size_t stop = std::min(content.find(end, at), content.size());
    const auto ids =
        tokenize(vocab, content.substr(at, stop - at), arguments.special, !arguments.as_text);
    for (size_t i = 0; i < ids.size(); ++i) std::cout << (i > 0 ? " " : "") << ids[i];
    std::cout << "\n";
    at = stop + 1;
  }
}

void write_npy(const std::string& path, const std::vector<float>& values, size_t rows,
               size_t columns) {
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" +
                       std::to_string(rows) + ", " + std::to_string(columns) + "), }";
  header.append(63 - (header.size() + 10) % 64, ' ').append("\n");
  std::ofstream file(path, std::ios::binary);
  file.write("\x93NUMPY\1\0", 8);
  file.put(static_cast<char>(header.size() & 0xFF)).put(static_cast<char>(header.size() >> 8));
  file << header;
  file.write(reinterpret_cast<const char*>(values.data()),
             static_cast<std::streamsize>(values.size() * sizeof(float)));
  if (!file.flush()) fail("cannot write " + path);
}

void logits(const Arguments& arguments) {
  if (arguments.plain.size() != 4) fail(kUsage);
  const auto ids = read_ids(arguments.plain[2]);
  if (ids.empty()) fail(arguments.plain[2] + ": no ids");
  llama_model* model = load(arguments, false);
  const auto columns = static_cast<size_t>(llama_vocab_n_tokens(llama_model_get_vocab(model)));
  llama_context* context = context_of(model, arguments, ids.size());
  decode(context, ids.data(), ids.size(), 0);
  std::vector<float> all;
  for (size_t i = 0; i < ids.size(); ++i) {
    const float* row = llama_get_logits_ith(context, static_cast<int32_t>(i));
    all.insert(all.end(), row, row + columns);
  }
  write_npy(arguments.plain[3], all, ids.size(), columns);
}

double nll(const float* row, size_t columns, llama_token target) {
  const double top = *std::max_element(row, row + columns);
  double sum = 0;
  for (size_t i = 0; i < columns; ++i) sum += std::exp(row[i] - top);
  return top + std::log(sum) - row[target];
}

void perplexity(const Arguments& arguments) {
  llama_model* model = load(arguments, false);
  const llama_vocab* vocab = llama_model_get_vocab(model);
  const auto columns = static_cast<size_t>(llama_vocab_n_tokens(vocab));
  auto ids = arguments.ids ? read_ids(arguments.plain[2])
                           : tokenize(vocab, read(arguments.plain[2]), true, true);
  // What stands behind a text is none of the protocol.
  if (!arguments.ids && llama_vocab_get_add_eos(vocab)) ids.pop_back();
  const auto length = static_cast<size_t>(arguments.seqlen);
  const size_t chunks = std::min(ids.size() / length, static_cast<size_t>(arguments.max_chunks));
  if (chunks == 0) fail("the text has not one chunk");
  llama_context* context = context_of(model, arguments, length);
  double sum = 0;
  for (size_t chunk = 0; chunk < chunks; ++chunk) {
    const llama_token* from = ids.data() + chunk * length;
    llama_memory_clear(llama_get_memory(context), true);
    decode(context, from, length, 0);
    for (size_t i = 0; i + 1 < length; ++i) {
      sum += nll(llama_get_logits_ith(context, static_cast<int32_t>(i)), columns, from[i + 1]);
    }
  }
  const size_t scored = chunks * (length - 1);
  std::printf("{\"ppl\": %.9g, \"tokens\": %zu, \"chunks\": %zu, \"nll_sum\": %.9g}\n",
              std::exp(sum / static_cast<double>(scored)), scored, chunks, sum);
}

std::string as_chat(const llama_model* model, const std::string& prompt) {
  const char* source = llama_model_chat_template(model, nullptr);
  if (source == nullptr) fail("the file has no chat template");
  const llama_chat_message message{"user", prompt.c_str()};
  std::string text(prompt.size() * 2 + 4096, '\0');
  const int size = llama_chat_apply_template(source, &message, 1, true, text.data(),
                                             static_cast<int32_t>(text.size()));
  if (size < 0 || size > static_cast<int>(text.size())) {
    fail("llama_chat_apply_template does not know this template");
  }
  text.resize(static_cast<size_t>(size));
  return text;
}

std::string piece_of(const llama_vocab* vocab, llama_token id) {
  char buffer[1024];
  const int size = llama_token_to_piece(vocab, id, buffer, sizeof(buffer), 0, true);
  return {buffer, static_cast<size_t>(std::max(size, 0))};
}

void generate(const Arguments& arguments) {
  llama_model* model = load(arguments, false);
  const llama_vocab* vocab = llama_model_get_vocab(model);
  const auto columns = static_cast<size_t>(llama_vocab_n_tokens(vocab));
  const std::string& prompt = arguments.plain[2];
  std::vector<llama_token> ids =
      tokenize(vocab, arguments.chat ? as_chat(model, prompt) : prompt, true, true);
  llama_context* context =
      context_of(model, arguments, ids.size() + static_cast<size_t>(arguments.max_tokens));
  size_t done = 0;
  std::vector<llama_token> made;
  while (static_cast<int>(made.size()) < arguments.max_tokens) {
    decode(context, ids.data() + done, ids.size() - done, static_cast<int>(done));
    const float* row = llama_get_logits_ith(context, -1);
    done = ids.size();
    const auto best = static_cast<llama_token>(std::max_element(row, row + columns) - row);
    if (llama_vocab_is_eog(vocab, best)) break;
    ids.push_back(best);
    made.push_back(best);
    std::cout << piece_of(vocab, best) << std::flush;
  }
  std::cout << "\n";
  std::cerr << "ids:";
  for (const llama_token id : made) std::cerr << " " << id;
  std::cerr << "\n";
}

}  // namespace

int main(int count, char** values) {
  const Arguments arguments = parse(count, values);
  const std::string& command = arguments.plain[0];
  if (command == "tokens") {
    tokens(arguments);
  } else if (command == "logits") {
    logits(arguments);
  } else if (command == "perplexity") {
    perplexity(arguments);
  } else if (command == "generate") {
    generate(arguments);
  } else if (command == "bench") {
    bench(arguments);
  } else {
    fail("unknown command " + command + "\n" + kUsage);
  }
  return 0;
}
