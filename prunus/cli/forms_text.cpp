#include "prunus/cli/forms_text.h"

#include <cstdio>
#include <sstream>
#include <vector>

#include <nlohmann/json.hpp>

#include "prunus/base/quantity.h"
#include "prunus/cli/command.h"
#include "prunus/cli/summary.h"
#include "prunus/cli/text_table.h"

namespace prunus {
namespace {

std::string said(const Json& row) {
  if (row.at("legal") == true) {
    return "yes: " + word_at(row, "how") + (row.contains("on_request") ? " [on request]" : "");
  }
  return "no: " + word_at(row, "why") +
         (row.contains("alternative") ? "; instead " + word_at(row, "alternative") : "");
}

// At blanks, so that a line of the table fits a terminal.
std::vector<std::string> wrapped(const std::string& text) {
  constexpr size_t kWidth = 62;
  std::vector<std::string> lines = {""};
  std::istringstream words(text);
  for (std::string one; words >> one;) {
    std::string& line = lines.back();
    if (!line.empty() && line.size() + 1 + one.size() > kWidth) {
      lines.push_back(one);
    } else {
      line += (line.empty() ? "" : " ") + one;
    }
  }
  return lines;
}

// What a bitmask saves. False where its numbers were rounded.
bool print_bitmask(const Json& record) {
  if (!record.contains("bitmask")) return true;
  const Json& bitmask = record.at("bitmask");
  const auto number = [&](const char* key) { return bitmask.at(key).get<int64_t>(); };
  const auto share = [](int64_t part, int64_t whole) {
    return 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  };
  std::printf("%-16s %lld matrices, %.1f %% of their weights; all weights %s, %.1f %% of %s\n",
              "stored", static_cast<long long>(number("matrices")),
              share(number("values"), number("weights")), human_bytes(number("bytes")).c_str(),
              share(number("bytes"), number("dense_bytes")),
              human_bytes(number("dense_bytes")).c_str());
  return bitmask.at("exact").get<bool>();
}

}  // namespace

std::string forms_text(const Json& table) {
  using Align = TextTable::Align;
  TextTable text({{"opened by", Align::Left}, {"form", Align::Left}, {"", Align::Left}});
  for (const Json& row : table) {
    std::string software = word_at(row, "software");
    std::string form = word_at(row, "format") + " " + word_at(row, "form");
    for (const std::string& line : wrapped(said(row))) {
      text.add({software, form, line});
      software = form = "";
    }
  }
  return text.text();
}

void print_export_summary(const Json& record) {
  const Json& form = record.at("form");
  std::printf("%-16s %s %s\n", "form", word_at(form, "format").c_str(),
              word_at(form, "form").c_str());
  if (record.contains("result")) {
    print_sizes(record.at("source"), record.at("result"));
    const bool exact = print_bitmask(record);
    std::printf("%-16s %s (reopened, logits %s)\n", "written",
                record.at("options").at("out").get<std::string>().c_str(),
                exact ? "equal" : "compared: see run.json");
  } else {
    std::printf("%-16s nothing written\n", "dry run");
  }
  std::printf("%s", forms_text(record.at("forms")).c_str());
}

}  // namespace prunus
