#pragma once
#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/model/family.h"

namespace prunus {

/// Which expert of a mixture a matrix product belongs to, and whose tokens go through it.
struct ExpertPart {
  int expert = -1;  ///< −1: none
  int experts = 0;  ///< how many the layer has
  int64_t dim = 0;  ///< of `joined`, along which the experts' weights follow each other
  at::Tensor
      joined;  ///< gate and up [experts·inner, hidden], dim 0; down [hidden, experts·inner], 1
  /// [batch]: how many of the tokens come from each row of the batch. They stand in the order of
  /// rows and positions, so that those of one row lie together.
  std::vector<int64_t> row_tokens = {};

  bool present() const { return expert >= 0; }
  /// This expert's part of what has joined's axis `dim` along `axis`: a view.
  at::Tensor part_of(const at::Tensor& whole, int64_t axis) const;
};

/// Stands between the decoder and its matrix products: calibration watches through it.
class LinearHook {
 public:
  virtual ~LinearHook() = default;
  /// y = x·Wᵀ + b. input [batch, seq, in]; weight [out, in]; bias [out] or undefined.
  virtual at::Tensor linear(Role role, const at::Tensor& input, const at::Tensor& weight,
                            const at::Tensor& bias) = 0;

  /// Whether linear() and scale() compute what they would without a hook and nothing depends on the
  /// numbers: what is fused may then be done unseen, with before() and after() of the first of the
  /// products done together, and after() of a norm.
  virtual bool only_watches() const { return false; }
  virtual void before(Role /*product*/) {}
  virtual void after(Role /*product_or_norm*/) {}

  /// How the experts of a mixture come. With gradients, where they come apart, those of one role
  /// come after each other, so that the backward pass is done with one weight before the next.
  enum class Experts {
    Chosen,  ///< expert_linear() of each expert that a token of the batch chose, in order
    All,     ///< expert_linear() of every expert, in order, of no tokens too
    Joined,  ///< linear() of all tokens through all experts, as one product as wide as they are
  };
  virtual Experts experts() const { return Experts::Chosen; }
  /// y = x·Wᵀ of the tokens that chose this expert. input [tokens, in]; weight [out, in], a view of
  /// part.joined. Unless overridden, linear() with what it is given.
  virtual at::Tensor expert_linear(Role role, const at::Tensor& input, const at::Tensor& weight,
                                   const ExpertPart& part);

  /// y = normalised · gain + bias, the end of a norm over the hidden channels.
  /// normalised [batch, seq, hidden_size]; gain [hidden_size]; bias [hidden_size] or undefined.
  virtual at::Tensor scale(Role role, const at::Tensor& normalised, const at::Tensor& gain,
                           const at::Tensor& bias);
};

}  // namespace prunus
