// Shows what Prunus makes of tokenizers, for tools/check_gguf_tokenizer.py; no test.
//   tokenizer_probe ids MODEL FILE [--around]    ids of each text of FILE (texts end with a NUL
//                                                byte), a line each; with what stands around a text
//   tokenizer_probe files MODEL.gguf DIR         gguf_tokenizer_files() into DIR, which exists
//   tokenizer_probe gguf MODEL OUT.gguf [PRE]    a GGUF file of gguf_tokenizer_entries() alone
#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/text/gguf_tokenizer.h"
#include "prunus/text/gguf_tokenizer_entries.h"
#include "prunus/text/tokenizer.h"

#include "tests/io/gguf_fixture.h"

namespace prunus {
namespace {

void print_ids(const std::string& model, const std::string& file, bool around) {
  const auto tokenizer = load_tokenizer(model);
  const std::string content = read_file(file);
  for (size_t at = 0; at < content.size();) {
    const size_t end = std::min(content.find('\0', at), content.size());
    std::vector<int64_t> ids = tokenizer->encode(content.substr(at, end - at));
    if (around) {
      const auto front = tokenizer->prefix_ids();
      ids.insert(ids.begin(), front.begin(), front.end());
      ids.insert(ids.end(), tokenizer->suffix_ids().begin(), tokenizer->suffix_ids().end());
    }
    for (size_t i = 0; i < ids.size(); ++i) std::cout << (i > 0 ? " " : "") << ids[i];
    std::cout << "\n";
    at = end + 1;
  }
}

void write_files(const std::string& model, const std::string& dir) {
  for (const CompanionFile& file : gguf_tokenizer_files(*GgufFile::open(model))) {
    write_file(dir + "/" + file.name, file.contents);
  }
}

void write_gguf(const std::string& model, const std::string& path, const std::string& pre) {
  testing_io::GgufParts parts;
  parts.metadata.push_back(testing_io::encoded(GgufEntry::text("general.architecture", "llama")));
  for (const GgufEntry& entry : gguf_tokenizer_entries(model, {.pre = pre})) {
    parts.metadata.push_back(testing_io::encoded(entry));
  }
  write_file(path, parts.bytes());
}

int run(const std::vector<std::string>& words) {
  const std::string command = words.size() > 2 ? words[0] : "";
  if (command == "ids") {
    print_ids(words[1], words[2], words.size() > 3 && words[3] == "--around");
  } else if (command == "files") {
    write_files(words[1], words[2]);
  } else if (command == "gguf") {
    write_gguf(words[1], words[2], words.size() > 3 ? words[3] : "");
  } else {
    std::cerr << "usage: tokenizer_probe ids|files|gguf MODEL FILE_OR_DIR\n";
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace prunus

int main(int argc, char** argv) {
  try {
    return prunus::run({argv + 1, argv + argc});
  } catch (const prunus::Error& error) {
    std::cerr << error.what() << "\n";
    return prunus::exit_code(error.kind());
  }
}
