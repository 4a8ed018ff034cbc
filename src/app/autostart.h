/* SPDX-License-Identifier: MIT */
#ifndef ER_APP_AUTOSTART_H
#define ER_APP_AUTOSTART_H

#include "wire/autostart.h"

#endif
