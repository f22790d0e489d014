#include "prunus/text/chars_map.h"

#include <map>

#include "fixture.h"

namespace prunus::text::chars_map_test {
namespace {

using nlohmann::json;
using Mappings = std::map<std::string, std::string>;

void put(std::string& blob, uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) blob += static_cast<char>(value >> shift & 0xFF);
}

json node_of(const std::string& array, const std::string& replacements) {
  std::string blob;
  put(blob, static_cast<uint32_t>(array.size()));
  return {{"type", "Precompiled"}, {"precompiled_charsmap", base64(blob + array + replacements)}};
}

// A Darts-clone double array in its simplest form: every node has 256 units for its children to
// itself, child c of a node at place p is p ^ offset ^ c, and child 0 holds a key's value.
class DoubleArray {
 public:
  explicit DoubleArray(const Mappings& mappings) {
    for (const auto& [key, replacement] : mappings) {
      offsets_[key] = static_cast<uint32_t>(replacements_.size());
      replacements_ += replacement + '\0';
    }
    units_.resize(256);
    add(0, "");
  }
  json node() const {
    std::string array;
    for (const uint32_t unit : units_) put(array, unit);
    return node_of(array, replacements_);
  }

 private:
  // `at`: where the node of `prefix` lies.
  void add(uint32_t at, const std::string& prefix) {
    const auto block = static_cast<uint32_t>(units_.size());
    units_.resize(units_.size() + 256);
    units_[at] |= (at ^ block) << 10;
    if (const auto found = offsets_.find(prefix); found != offsets_.end()) {
      units_[at] |= 1u << 8;
      units_[block] = 1u << 31 | found->second;
    }
    for (uint32_t byte = 1; byte < 256; ++byte) {
      const std::string longer = prefix + static_cast<char>(byte);
      const auto next = offsets_.lower_bound(longer);
      if (next == offsets_.end() || !next->first.starts_with(longer)) continue;
      units_[block ^ byte] = byte;
      add(block ^ byte, longer);
    }
  }

  std::map<std::string, uint32_t> offsets_;
  std::string replacements_;
  std::vector<uint32_t> units_;
};

std::string by_node(const json& node, std::string_view text) {
  return CharsMap(JsonView(node, "test")).apply(text);
}

std::string mapped(const Mappings& mappings, std::string_view text) {
  return by_node(DoubleArray(mappings).node(), text);
}

TEST(CharsMap, ReplacesMappedCharactersAndLeavesTheOthers) {
  const Mappings mappings = {{"\uFB01", "fi"}, {"\u3000", " "}, {"\u200B", ""}, {"½", "1/2"}};
  EXPECT_EQ(mapped(mappings, "\uFB01n\u3000½\u200B!"), "fin 1/2!");
  EXPECT_EQ(mapped(mappings, "f\uFB02 中\U0001F600"), "f\uFB02 中\U0001F600");
  EXPECT_EQ(mapped(mappings, ""), "");
  EXPECT_EQ(mapped(mappings, std::string_view("a\0½", 4)), std::string("a\0001/2", 5));
}

TEST(CharsMap, TakesTheShortestStringThatBeginsACluster) {
  const Mappings both = {{"e", "E"}, {"e\u0301", "é"}};
  EXPECT_EQ(mapped(both, "e\u0301"), "E");  // the mark goes with its cluster
  EXPECT_EQ(mapped({{"e\u0301", "é"}}, "e\u0301e"), "ée");
  EXPECT_EQ(mapped({{"\r", " "}}, "a\r\nb"), "a b");  // the two are one cluster
}

TEST(CharsMap, LooksUpTheCharactersOfLongClustersOneByOne) {
  const Mappings mappings = {{"e", "E"}, {"e\u0301", "é"}, {"\u0302", "^"}};
  EXPECT_EQ(mapped(mappings, "e\u0301\u0302"), "E");                // 5 bytes
  EXPECT_EQ(mapped(mappings, "e\u0301\u0302\u0302"), "E\u0301^^");  // 7 bytes
}

TEST(CharsMap, KnowsOffsetsInUnitsOf256) {
  // The root's offset is 1 · 256 by its ninth bit: 'a' lies at 256 ^ 0x61, its value at 512.
  std::vector<uint32_t> units(513);
  units[0] = 1u << 10 | 1u << 9;
  units[256 ^ 0x61] = ((256u ^ 0x61u ^ 512u) << 10) | 1u << 8 | 0x61u;
  units[512] = 1u << 31 | 2u;
  std::string array;
  for (const uint32_t unit : units) put(array, unit);
  EXPECT_EQ(by_node(node_of(array, std::string("x\0yz\0", 5)), "bab"), "byzb");
}

TEST(CharsMap, LeavesTextAsItIsWhereTheArrayLeadsOutOfItself) {
  std::string array;
  put(array, 0x1FFFFFu << 10);  // the root's children lie beyond the end
  EXPECT_EQ(by_node(node_of(array, "x"), "abc"), "abc");
  std::vector<uint32_t> units(0x62);
  units[0] = 1u << 10;
  units[0x60] = (0x60u ^ 0x61u) << 10 | 1u << 8 | 0x61u;
  units[0x61] = 1u << 31 | 99u;  // a replacement beyond the last
  array.clear();
  for (const uint32_t unit : units) put(array, unit);
  EXPECT_EQ(by_node(node_of(array, "x"), "abc"), "abc");
  units[0x61] = 1u << 31;
  array.clear();
  for (const uint32_t unit : units) put(array, unit);
  EXPECT_EQ(by_node(node_of(array, "x"), "abc"), "xbc");
}

TEST(CharsMap, NamesWhatIsWrongWithItsBytes) {
  const auto refuse = [](const json& node, const std::string& part) {
    expect_error(ErrorKind::Corrupt, part,
                 [&] { CharsMap(JsonView(node, "tokenizer.json: normalizer")); });
  };
  const std::string unit(4, '\0');
  refuse(node_of(unit, "a\xFF"),
         "normalizer.precompiled_charsmap: its replacements are not valid UTF-8");
  refuse(node_of("", "abcdef"), "says its array has 0 bytes, but 6 follow");
  refuse(node_of(unit + "ab", "cd"), "says its array has 6 bytes, but 8 follow");
  refuse({{"precompiled_charsmap", 7}}, "precompiled_charsmap: is number, expected a string");
  refuse({{"type", "Precompiled"}}, "has no 'precompiled_charsmap'");
}

}  // namespace
}  // namespace prunus::text::chars_map_test
