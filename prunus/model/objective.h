#pragma once
#include <string_view>

namespace prunus {

/// What is differentiated where gradients are looked at.
enum class Objective {
  CrossEntropy,  ///< −log p of the text's next token
  Entropy,       ///< −Σ p·log p of what the model predicts: no labels
  /// −log p of a token drawn from what the model predicts. Its mean gradient is 0, its mean square
  /// the Fisher information, the second derivative of the divergence from the model as it is.
  Divergence,
};

/// ce, entropy, kl. Parsing throws InvalidArgument listing them.
Objective parse_objective(std::string_view name);
std::string_view objective_name(Objective objective);

}  // namespace prunus
