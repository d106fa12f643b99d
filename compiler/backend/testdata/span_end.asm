   0: r0 = *(u64 *)(r1 +0)
   1: r0 = *(u64 *)(r0 +120)
   2: if r0 != 0 goto 39
   3: call FnGetCurrentPidTgid
   4: w0 = w0
   5: *(u64 *)(r10 -8) = r0
   6: r1 = map @start
   8: r2 = r10
   9: r2 += -8
  10: call FnMapLookupElem
  11: if r0 == 0 goto 39
  12: r6 = *(u64 *)(r0 +0)
  13: if r6 == 0 goto 39
  14: call FnKtimeGetBootNs
  15: r7 = r0
  16: r7 -= r6
  17: call FnGetCurrentTaskBtf
  18: r5 = *(u64 *)(r0 +2000)
  19: r0 = *(u64 *)(r0 +2008)
  20: *(u64 *)(r10 -24) = r5
  21: *(u64 *)(r10 -16) = r0
  22: r1 = map @ns
  24: r2 = r10
  25: r2 += -24
  26: call FnMapLookupElem
  27: if r0 == 0 goto 34
  28: r7 &= 63
  29: r7 <<= 3
  30: r7 += r0
  31: r0 = *(u64 *)(r7 +0)
  32: r0 += 1
  33: *(u64 *)(r7 +0) = r0
  34: r1 = map @start
  36: r2 = r10
  37: r2 += -8
  38: call FnMapDeleteElem
  39: r0 = 0
  40: exit
