#pragma once
// For headers that only pass tensors: three seconds less per translation unit than ATen.
namespace at {
class Tensor;
}
