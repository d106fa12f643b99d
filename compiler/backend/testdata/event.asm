   0: r6 = r1
   1: r1 = map events
   3: r2 = 32
   4: r3 = 0
   5: call FnRingbufReserve
   6: r7 = r0
   7: if r7 == 0 goto 22
   8: *(u64 *)(r7 +0) = 7
   9: r1 = r7
  10: r1 += 8
  11: r2 = 16
  12: call FnGetCurrentComm
  13: r0 = *(u32 *)(r6 +8)
  14: r0 <<= 32
  15: r0 s>>= 32
  16: *(u64 *)(r7 +24) = r0
  17: r1 = r7
  18: r2 = 1
  19: call FnRingbufSubmit
  20: r0 = 0
  21: exit
  22: *(u64 *)(r10 -8) = 0
  23: r1 = map losses
  25: r2 = r10
  26: r2 += -8
  27: call FnMapLookupElem
  28: if r0 == 0 goto 20
  29: r5 = *(u64 *)(r0 +0)
  30: r5 += 1
  31: *(u64 *)(r0 +0) = r5
  32: ja goto 20
