// Operators, items and slices against Python's own rules.
#include <cmath>

#include <gtest/gtest.h>

#include "prunus/text/jinja_value.h"

namespace prunus::text::jinja::jinja_access_test {
namespace {

Value whole(int64_t value) { return Value::integer(value); }

Value apply(const std::string& op, const Value& a, const Value& b) {
  Budget budget;
  return arithmetic(op, a, b, budget);
}

TEST(Arithmetic, DividesAsPythonDoes) {
  for (int64_t a = -7; a <= 7; ++a) {
    for (const int64_t b : {-3, -1, 2, 5}) {
      const auto floor =
          static_cast<int64_t>(std::floor(static_cast<double>(a) / static_cast<double>(b)));
      EXPECT_EQ(apply("//", whole(a), whole(b)).as_int(), floor) << a << " // " << b;
      EXPECT_EQ(apply("%", whole(a), whole(b)).as_int(), a - floor * b) << a << " % " << b;
    }
  }
  EXPECT_DOUBLE_EQ(apply("%", Value::real(-7.5), whole(2)).as_float(), 0.5);
  EXPECT_DOUBLE_EQ(apply("/", whole(1), whole(4)).as_float(), 0.25);
}

TEST(Arithmetic, RefusesWhatDoesNotFitInto64Bits) {
  const auto over = [](const std::string& op, int64_t a, int64_t b) {
    EXPECT_THROW(apply(op, whole(a), whole(b)), Fault) << a << op << b;
  };
  over("+", INT64_MAX, 1);
  over("-", INT64_MIN, 1);
  over("*", INT64_MAX, 2);
  over("**", 2, 63);
  over("//", INT64_MIN, -1);
  over("%", INT64_MIN, -1);
  EXPECT_EQ(apply("**", whole(2), whole(62)).as_int(), int64_t{1} << 62);
  // Without a loop of that many steps.
  EXPECT_EQ(apply("**", whole(1), whole(INT64_MAX)).as_int(), 1);
  EXPECT_EQ(apply("**", whole(0), whole(INT64_MAX)).as_int(), 0);
  EXPECT_EQ(apply("**", whole(-1), whole(INT64_MAX)).as_int(), -1);
}

TEST(Arithmetic, RefusesDivisionByZeroAndOtherKinds) {
  for (const char* op : {"/", "//", "%"}) {
    EXPECT_THROW(apply(op, whole(1), whole(0)), Fault);
    EXPECT_THROW(apply(op, Value::real(1), Value::real(0)), Fault);
  }
  EXPECT_THROW(apply("+", Value::string("a"), whole(1)), Fault);
  EXPECT_THROW(apply("*", Value::string("ab"), whole(INT64_MAX)), Fault);
}

// A list 0 … 5 sliced every way, by a walk over its indices.
TEST(SliceOf, TakesWhatPythonTakes) {
  Values six;
  for (int64_t i = 0; i < 6; ++i) six.push_back(whole(i));
  const Value list = Value::list(six);
  for (int64_t start = -8; start <= 8; ++start) {
    for (int64_t stop = -8; stop <= 8; ++stop) {
      for (const int64_t step : {-7, -2, -1, 1, 2, 7}) {
        const auto clip = [&](int64_t at) {
          at = at < 0 ? at + 6 : at;
          return step > 0 ? std::min(std::max(at, int64_t{0}), int64_t{6})
                          : std::min(std::max(at, int64_t{-1}), int64_t{5});
        };
        std::vector<int64_t> expected;
        const int64_t end = clip(stop);
        for (int64_t at = clip(start); step > 0 ? at < end : at > end; at += step) {
          expected.push_back(at);
        }
        std::vector<int64_t> got;
        const Value slice = slice_of(list, whole(start), whole(stop), whole(step));
        for (const Value& item : slice.as_list().items) got.push_back(item.as_int());
        EXPECT_EQ(got, expected) << start << ":" << stop << ":" << step;
      }
    }
  }
  EXPECT_THROW(slice_of(list, Value(), Value(), whole(0)), Fault);
}

TEST(SliceOf, CountsCharactersAndNotBytes) {
  const Value text = Value::string("aé🌳z");
  EXPECT_EQ(slice_of(text, whole(1), whole(3), Value()).as_string(), "é🌳");
  EXPECT_EQ(slice_of(text, Value(), Value(), whole(-1)).as_string(), "z🌳éa");
  EXPECT_EQ(item_of(text, whole(-2)).as_string(), "🌳");
  EXPECT_TRUE(item_of(text, whole(4)).is(Value::Kind::Undefined));
}

TEST(SliceOf, SurvivesTheLargestNumbers) {
  const Value text = Value::string("abc");
  EXPECT_EQ(slice_of(text, Value(), Value(), whole(INT64_MAX)).as_string(), "a");
  EXPECT_EQ(slice_of(text, Value(), Value(), whole(INT64_MIN)).as_string(), "c");
  EXPECT_EQ(slice_of(text, whole(INT64_MIN), whole(INT64_MAX), whole(1)).as_string(), "abc");
}

}  // namespace
}  // namespace prunus::text::jinja::jinja_access_test
