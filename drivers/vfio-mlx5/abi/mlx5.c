// SPDX-License-Identifier: GPL-2.0
/*
 * The part of the firmware's side that must be C.
 */
#include "mlx5.h"
