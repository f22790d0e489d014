#include "prunus/text/chat_template.h"

#include <cstdlib>
#include <filesystem>
#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/json.h"

#include "support/expect_error.h"
#include "support/paths.h"

namespace prunus::chat_template_test {
namespace {

namespace fs = std::filesystem;
using test::expect_error;

// Where the templates lie; another folder of them may be named, see the README there.
std::string golden_dir() {
  const char* given = std::getenv("PRUNUS_CHAT_GOLDENS");
  return given != nullptr ? given : test::source_path("tests/text/chat");
}

Json golden(const std::string& name) { return read_json(golden_dir() + "/" + name); }

std::string rendered(const std::string& source, const Json& variables = Json::object()) {
  return ChatTemplate(source, "t").render(variables).text;
}

// Equal text and spans, or an error where transformers raises one.
void expect_rendering(const ChatTemplate& chat, const Json& variables, const Json& expected) {
  if (expected.contains("error")) {
    EXPECT_THROW(chat.render(variables), Error) << expected.at("error");
    return;
  }
  const ChatRendering got = chat.render(variables);
  EXPECT_EQ(got.text, expected.at("text").get<std::string>());
  Json spans = Json::array();
  for (const auto& [begin, end] : got.generated) spans.push_back({begin, end});
  EXPECT_EQ(spans, expected.at("generated"));
}

TEST(ChatTemplate, RendersRealTemplatesAsTransformers) {
  const Json conversations = golden("conversations.json");
  int templates = 0;
  for (const auto& entry : fs::directory_iterator(golden_dir())) {
    if (entry.path().extension() != ".jinja") continue;
    ++templates;
    const std::string name = entry.path().stem().string();
    const ChatTemplate chat(read_file(entry.path().string(), 1 << 20), name);
    const Json expected = golden(name + ".json");
    ASSERT_EQ(expected.size(), conversations.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      SCOPED_TRACE(name + ": " + conversations[i].at("name").get<std::string>());
      expect_rendering(chat, conversations[i].at("variables"), expected[i]);
    }
  }
  EXPECT_GE(templates, 12);
}

TEST(ChatTemplate, RendersEachConstructAsJinja) {
  const Json file = golden("snippets.json");
  for (const Json& one : file.at("snippets")) {
    const std::string source = one.at("template").get<std::string>();
    SCOPED_TRACE(source);
    expect_rendering(ChatTemplate(source, "snippet"), file.at("variables"), one);
  }
}

TEST(ChatTemplate, KnowsWhetherItMarksWhatTheAssistantSays) {
  EXPECT_FALSE(ChatTemplate("{{ 1 }}", "t").has_generation());
  EXPECT_TRUE(ChatTemplate("{% if x %}{% generation %}a{% endgeneration %}{% endif %}", "t")
                  .has_generation());
}

TEST(ChatTemplate, RefusesWhatIsNoTemplateByPlace) {
  const auto corrupt = [](const std::string& source, const std::string& part) {
    expect_error(ErrorKind::Corrupt, part, [&] { ChatTemplate(source, "mine.jinja"); });
  };
  corrupt("a\n{{ 1", "mine.jinja");
  corrupt("{% if x %}", "line 1");
  corrupt("\n\n{{ ] }}", "line 3");
  corrupt("{{ 'a }}", "line 1");
  corrupt("{{ 1 + }}", "line 1");
  corrupt("{% for %}{% endfor %}", "line 1");
  corrupt("{{ [1 }}", "line 1");
  corrupt("{{ f(a=1, 2) }}", "line 1");
}

TEST(ChatTemplate, RefusesWhatItDoesNotKnowByName) {
  const auto unsupported = [](const std::string& source, const std::string& part) {
    expect_error(ErrorKind::Unsupported, part, [&] { rendered(source); });
  };
  unsupported("{% include 'x' %}", "include");
  unsupported("{% extends 'x' %}", "extends");
  unsupported("{% import 'x' as y %}", "import");
  unsupported("{{ 1 | xmlattr }}", "xmlattr");
  unsupported("{{ 1 is filter }}", "filter");
}

TEST(ChatTemplate, SaysWhatTheTemplateRaises) {
  expect_error(ErrorKind::Corrupt, "t: line 2, column 6: operator //",
               [] { rendered("\n{{ 1 // 0 }}"); });
  expect_error(ErrorKind::Corrupt, "Roles must alternate",
               [] { rendered("{{ raise_exception('Roles must alternate') }}"); });
}

// A template is a stranger's program: every way to take all time or memory ends in an error.
TEST(ChatTemplate, IsHeldWithinItsLimits) {
  const auto corrupt = [](const std::string& source) {
    SCOPED_TRACE(source.substr(0, 60));
    EXPECT_THROW(rendered(source), Error);
  };
  corrupt("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}");
  corrupt("{% for a in range(3000) %}{% for b in range(3000) %}{% endfor %}{% endfor %}");
  corrupt("{{ 'a' * 2000000000 }}");
  corrupt("{{ range(2000000000) | list }}");
  corrupt("{{ 9 ** 9 ** 9 ** 9 }}");
  corrupt(
      "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}"
      "{% endfor %}{{ ns.x }}");
  corrupt("{{ 9223372036854775807 + 1 }}");
  corrupt("{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}");
  corrupt("{{ " + std::string(50000, '-') + "1 }}");
  std::string nested;
  for (int i = 0; i < 1000; ++i) nested += "{% if 1 %}";
  corrupt(nested);
}

TEST(ChatTemplate, ReachesNothingButItsValues) {
  EXPECT_EQ(rendered("{{ ''.__class__ }}{{ range.__globals__ }}"), "");
  const Json values = {{"messages", Json::array({1})}, {"d", {{"a", 1}}}};
  for (const char* source :
       {"{{ messages.append(1) }}", "{{ messages.pop() }}", "{{ d.update({}) }}",
        "{{ d.pop('a') }}", "{{ open('x') }}", "{{ cycler(1, 2) }}", "{{ self.x }}"}) {
    SCOPED_TRACE(source);
    EXPECT_THROW(rendered(source, values), Error);
  }
}

}  // namespace
}  // namespace prunus::chat_template_test
