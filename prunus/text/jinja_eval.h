#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "prunus/text/jinja_ast.h"
#include "prunus/text/jinja_value.h"

namespace prunus::text::jinja {

/// The names of a block and, through `outer`, of those around it.
struct Scope {
  std::shared_ptr<Scope> outer = nullptr;
  std::map<std::string, Value> names = {};
  const Value* find(const std::string& name) const;
};
using ScopePtr = std::shared_ptr<Scope>;

/// Evaluates expressions. Throws Error naming the template, line and column.
class ExpressionEvaluator {
 public:
  explicit ExpressionEvaluator(const std::string& where) : where_(where) {}

  Value eval(const Expr& expr, const ScopePtr& scope);
  /// A filter whose subject is `subject` where its chain begins with the nameless constant.
  Value eval_filters(const Expr& filter, Value subject, const ScopePtr& scope);

  Budget& budget() { return budget_; }
  /// Runs `body` and gives faults in it the place.
  template <typename Run>
  auto placed(const Place& place, const Run& run) -> decltype(run()) {
    try {
      return run();
    } catch (const Fault& fault) {
      throw Error(fault.kind(), at_place(where_, place) + ": " + fault.what());
    }
  }

  /// One level deeper into what nests; throws Fault beyond 400.
  class Deeper {
   public:
    explicit Deeper(ExpressionEvaluator& evaluator);
    ~Deeper() { --evaluator_.level_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    ExpressionEvaluator& evaluator_;
  };

 private:
  Value eval_kind(const Expr& expr, const ScopePtr& scope);
  Value name(const Expr& expr, const ScopePtr& scope) const;
  Value collection(const Expr& expr, const ScopePtr& scope);
  Value mapping(const Expr& expr, const ScopePtr& scope);
  Value call(const Expr& expr, const ScopePtr& scope);
  Value filter(const Expr& expr, const ScopePtr& scope);
  Value test(const Expr& expr, const ScopePtr& scope);
  Value compare(const Expr& expr, const ScopePtr& scope);
  Value concat(const Expr& expr, const ScopePtr& scope);
  Value signed_number(const Expr& expr, const ScopePtr& scope);
  Value part(const Expr& expr, size_t index, const ScopePtr& scope);
  Args arguments(const Expr& expr, const ScopePtr& scope);

  const std::string& where_;
  Budget budget_;
  int level_ = 0;
  const Value* subject_ = nullptr;  // of the filters of a block
};

/// The functions that every template has: range, dict, namespace, raise_exception, strftime_now.
void add_globals(Scope& scope);

/// Renders statements. Spans are those of generation blocks.
struct Rendered {
  std::string text;
  std::vector<std::pair<size_t, size_t>> generated;
};
Rendered render(const Body& body, const ScopePtr& scope, const std::string& where);

}  // namespace prunus::text::jinja
